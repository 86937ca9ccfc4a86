"""The trackers that there are.

Weights & Biases: a run of the project WANDB_PROJECT (default: dots), its files in the run
directory. WANDB_MODE=offline needs no account; `wandb sync` sends such a run later.
MLflow: a run of the experiment MLFLOW_EXPERIMENT_NAME (default: dots) at MLFLOW_TRACKING_URI.
TensorBoard: the events that every run writes, and with this tracker its cells as pictures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dots.common.errors import UserError
from dots.runs.metrics import summary_writer
from dots.runs.trackers.tracker import Beginning, Identity, Setting, TrackerKind


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


LONGEST = 500
"""Characters of a setting: what every store takes."""


class Mlflow:
    """A run of MLflow: "stage/name" by epoch, the recipe as parameters."""

    def __init__(self, beginning: Beginning) -> None:
        from mlflow import MlflowClient, get_tracking_uri
        from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME

        earlier = beginning.identity or {}
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._uri = given or earlier.get("tracking_uri") or get_tracking_uri()
        self._client = MlflowClient(self._uri)
        if "run_id" in earlier:
            self._id = earlier["run_id"]
            self._client.update_run(self._id, status="RUNNING")
        else:
            tags = {MLFLOW_RUN_NAME: beginning.folder.name, MLFLOW_SOURCE_NAME: "dots"}
            self._id = self._client.create_run(self._experiment(), tags=tags).info.run_id
        self._settings(beginning.settings)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "dots")
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name))
        if found.lifecycle_stage != "active":
            raise UserError(f"the experiment {name!r} was deleted")
        return str(found.experiment_id)

    def _settings(self, settings: Mapping[str, Setting]) -> None:
        """Parameters are written once; a setting that a resume changed becomes a tag."""
        known = self._client.get_run(self._id).data.params
        for name, value in settings.items():
            text = str(value)[:LONGEST]
            if name not in known:
                self._client.log_param(self._id, name, text, synchronous=True)
            elif known[name] != text:
                self._client.set_tag(self._id, f"changed.{name}", text)

    @property
    def identity(self) -> Identity:
        where = {} if "@" in self._uri else {"tracking_uri": self._uri}  # with a password, perhaps
        return {"run_id": self._id, **where}

    def numbers(self, stage: str, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, f"{stage}/{name}", value, step=epoch)

    def cell(self, stage: str, epoch: int, pixels: npt.NDArray[np.uint8]) -> None:
        self._client.log_image(self._id, pixels, key=f"{stage}/cell", step=epoch, synchronous=True)

    def result(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, f"result/{name}", value)
        for file in files:
            self._client.log_artifact(self._id, str(file))

    def close(self, completed: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if completed else "KILLED")


MLFLOW = TrackerKind(
    "mlflow", Mlflow, "let MLFLOW_TRACKING_URI name a store in reach, as sqlite:///mlflow.db"
)


class Board:
    """The pictures, in a folder of their own: the events of numbers are replaced on a resume."""

    def __init__(self, beginning: Beginning) -> None:
        self._writer: Any = summary_writer(beginning.folder / "tensorboard" / "cells")

    @property
    def identity(self) -> Identity:
        return {}

    def numbers(self, stage: str, epoch: int, values: Mapping[str, float]) -> None:
        """Those of `dots.runs.metrics.Metrics` stand there already."""

    def cell(self, stage: str, epoch: int, pixels: npt.NDArray[np.uint8]) -> None:
        self._writer.add_image(f"{stage}/cell", pixels, epoch, dataformats="HWC")

    def result(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        """That of `dots.runs.metrics.write_board` stands there already."""

    def close(self, completed: bool) -> None:
        self._writer.close()


TENSORBOARD = TrackerKind("tensorboard", Board, "see that there is room on the disk")
