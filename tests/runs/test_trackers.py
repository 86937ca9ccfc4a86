"""Trackers: every epoch once, whatever is interrupted; a run in MLflow and W&B, continued."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dots.common.errors import UserError
from dots.common.records import TRACKERS
from dots.recipe import preset
from dots.runs.directory import RunDirectory
from dots.runs.restarts import record_restart
from dots.runs.trackers import tracked
from dots.runs.trackers.tracked import Trackers, check_trackers
from dots.runs.trackers.tracker import Beginning, TrackerKind
from dots.zoo import load


class Notebook:
    """A tracker that writes down what it is told, in `told`, over all its lives."""

    def __init__(self, beginning: Beginning, told: list[Any]) -> None:
        self.told = told
        told.append(("begin", dict(beginning.identity or {})))
        assert beginning.settings["train.epochs"] == preset("tiny").train.epochs

    @property
    def identity(self) -> Mapping[str, str]:
        return {"page": "7"}

    def numbers(self, stage: str, epoch: int, values: Mapping[str, float]) -> None:
        if values.get("loss") == 13:
            raise ConnectionError("the network is gone\nin many lines")
        self.told.append((stage, epoch, dict(values)))

    def cell(self, stage: str, epoch: int, pixels: npt.NDArray[np.uint8]) -> None:
        self.told.append((stage, epoch, pixels.shape[2]))

    def result(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        self.told.append(("result", dict(values), [file.name for file in files]))

    def close(self, completed: bool) -> None:
        self.told.append(("close", completed))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a tracker of the name "notebook" is told."""
    heard: list[Any] = []
    kind = TrackerKind("json", lambda beginning: Notebook(beginning, heard), "sharpen the pencil")
    monkeypatch.setattr(tracked, "KINDS", {"notebook": kind})
    return heard


def epoch(run: RunDirectory, trackers: Trackers, number: int, loss: float = 1.0) -> None:
    row = {"stage": "train", "epoch": number, "loss": loss, "note": "text", "bad": None}
    run.metrics.append(row)
    trackers.epoch_done("train", number, None)


def test_an_epoch_is_sent_once_also_when_a_resume_takes_it_again(
    tmp_path: Path, told: list[Any]
) -> None:
    with RunDirectory.create(preset("tiny"), out=tmp_path / "run") as run:
        with tracked.tracked(run, ["notebook"], print) as trackers:
            assert trackers is not None
            epoch(run, trackers, 0)
            epoch(run, trackers, 1)
        run.rewind("train", 1)
        with tracked.tracked(run, [], print) as trackers:
            assert trackers is not None
            epoch(run, trackers, 1)
            epoch(run, trackers, 2)
            trackers.result({"test_accuracy": 0.5, "baselines": {"random": {"parameters": 9}}})
    assert told == [
        ("begin", {}),
        ("train", 0, {"loss": 1.0}),
        ("train", 1, {"loss": 1.0}),
        ("close", False),
        ("begin", {"page": "7"}),
        ("train", 2, {"loss": 1.0}),
        ("result", {"test_accuracy": 0.5, "random/parameters": 9}, ["recipe.json", "metrics.csv"]),
        ("close", True),
    ]


def test_another_attempt_at_a_training_has_a_name_of_its_own(
    tmp_path: Path, told: list[Any]
) -> None:
    with RunDirectory.create(preset("tiny"), out=tmp_path / "run") as run:
        trackers = Trackers(run, ["notebook"], print)
        epoch(run, trackers, 0)
        record_restart(run, "train", {"lr": 1.0})
        run.rewind("train", 0)
        epoch(run, trackers, 0, loss=2.0)
    assert told[1:] == [("train", 0, {"loss": 1.0}), ("train-attempt-2", 0, {"loss": 2.0})]


def test_a_tracker_that_fails_is_left_out_and_sent_the_rest_by_a_resume(
    tmp_path: Path, told: list[Any]
) -> None:
    said: list[str] = []
    with RunDirectory.create(preset("tiny"), out=tmp_path / "run") as run:
        trackers = Trackers(run, ["notebook"], said.append)
        epoch(run, trackers, 0, loss=13)
        epoch(run, trackers, 1)
        assert said == ["the run goes on without notebook, which failed: the network is gone"]
        assert len(told) == 1
        run.rewind("train", 0)
        trackers = Trackers(run, [], said.append)
        epoch(run, trackers, 0)
        assert told[-1] == ("train", 0, {"loss": 1.0})


def test_a_cell_is_drawn_where_it_changes(tmp_path: Path, told: list[Any]) -> None:
    with RunDirectory.create(preset("tiny"), out=tmp_path / "run") as run:
        trackers = Trackers(run, ["notebook"], print)
        for number in range(2):
            trackers.epoch_done("topology", number, load("DARTS_V2").genotype)
    assert told[1:] == [("topology", 0, 3)]


def test_one_that_cannot_begin_is_a_mistake_where_it_is_new_and_said_where_it_is_not(
    tmp_path: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(beginning: Beginning) -> Notebook:
        raise ValueError("no account")

    said: list[str] = []
    with RunDirectory.create(preset("tiny"), out=tmp_path / "run") as run:
        Trackers(run, ["notebook"], print)
        kind = TrackerKind("json", refuse, "sharpen the pencil")
        monkeypatch.setattr(tracked, "KINDS", {"notebook": kind, "other": kind})
        Trackers(run, ["notebook"], said.append)
        assert said == ["the run goes on without notebook, which cannot go on: no account"]
        with pytest.raises(UserError, match=r"other cannot begin \(no account\): sharpen"):
            Trackers(run, ["other"], print)


def test_names_are_checked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'wandb'"):
        check_trackers(["wanbd"])
    monkeypatch.setattr(tracked, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'dots-nas\[mlflow\]'"):
        check_trackers(["mlflow"])


SMALL = [
    "--preset", "tiny", "--quiet", "--device", "cpu", "--set", "data.limit=100",
    "--set", "nodes=2", "--set", "operations.cells=2", "--set", "topology.cells=2",
    "--set", "train.cells=2", "--set", "train.epochs=2", "--set", "baselines=[]",
]  # fmt: skip


def command(place: Path, *words: str) -> None:
    environment = {
        **os.environ,
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": (place / "mlruns").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    done = subprocess.run(
        [sys.executable, "-m", "dots", "run", *words],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def pictures(folder: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder))
        events.Reload()
        return sorted(events.Tags()["images"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_in_all_three_and_its_continuation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs dots-nas[wandb]")
    mlflow = pytest.importorskip("mlflow", reason="needs dots-nas[mlflow]")
    loggers = [word for name in ("wandb", "mlflow", "tensorboard") for word in ("--logger", name)]
    command(tmp_path, "digits", "--out", "run", *SMALL, *loggers)
    first = (tmp_path / "run" / TRACKERS).read_text()
    command(tmp_path, "--resume", "run", "--extend", "1", "--quiet")

    offline = sorted((tmp_path / "run/wandb").glob("offline-run-*"))
    assert len(offline) == 2
    assert len({path.name.rsplit("-", 1)[1] for path in offline}) == 1
    assert offline[0].name.rsplit("-", 1)[1] in first
    (log,) = offline[0].glob("*.wandb")
    for word in ("train/loss", "topology/cell", "result/test_accuracy", "topology.t_start"):
        assert word.encode() in log.read_bytes(), word

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("dots")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert sorted(steps) == [0, 1, 2]
    assert run.data.params["train.epochs"] == "2"
    assert run.data.tags["changed.train.epochs"] == "3"
    assert "result/test_accuracy" in run.data.metrics
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"images", "report.html", "genotype.json", "weights.safetensors"} <= kept

    stages = ["operations", "result", "topology"]
    assert pictures(tmp_path / "run/tensorboard/cells") == [f"{stage}/cell" for stage in stages]
