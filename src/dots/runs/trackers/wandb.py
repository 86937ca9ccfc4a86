"""Weights & Biases: a run of the project WANDB_PROJECT (default: dots), its files in the run
directory. WANDB_MODE=offline needs no account; `wandb sync` sends such a run later."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dots.runs.trackers.tracker import Beginning, Identity, TrackerKind


class Wandb:
    """A run of Weights & Biases: "stage/name" over "stage/epoch", the recipe as its config."""

    def __init__(self, beginning: Beginning) -> None:
        import wandb

        self._wandb: Any = wandb
        earlier = beginning.identity or {}
        self._run: Any = wandb.init(
            project=earlier.get("project") or os.environ.get("WANDB_PROJECT", "dots"),
            entity=earlier.get("entity") or None,
            id=earlier.get("id"),
            name=beginning.folder.name,
            dir=str(beginning.folder),
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        config: Any = self._run.config
        config.update(dict(beginning.settings), allow_val_change=True)
        self._stages: set[str] = set()

    @property
    def identity(self) -> Identity:
        run = self._run
        return {"id": run.id, "project": run.project or "", "entity": run.entity or ""}

    def numbers(self, stage: str, epoch: int, values: Mapping[str, float]) -> None:
        self._log(stage, epoch, {f"{stage}/{name}": value for name, value in values.items()})

    def cell(self, stage: str, epoch: int, pixels: npt.NDArray[np.uint8]) -> None:
        self._log(stage, epoch, {f"{stage}/cell": self._wandb.Image(pixels)})

    def _log(self, stage: str, epoch: int, values: Mapping[str, object]) -> None:
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
        self._run.log({**values, f"{stage}/epoch": epoch})

    def result(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        self._run.summary.update({f"result/{name}": value for name, value in values.items()})
        artifact = self._wandb.Artifact(f"run-{self._run.id}", type="run")
        for file in files:
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def close(self, completed: bool) -> None:
        self._run.finish(exit_code=0 if completed else 1)


WANDB = TrackerKind(
    "wandb", Wandb, "log in with 'wandb login', or set WANDB_MODE=offline, which needs no network"
)
