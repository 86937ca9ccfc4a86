"""TensorBoard's hyper-parameters, read back from the events."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from dots.recipe import preset
from dots.runs.metrics import Scalars, write_board

RESULT: dict[str, Any] = {"test_accuracy": 0.9, "parameters": 1000, "test_loss": None}


def events(folder: Path) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        return [e for path in sorted(folder.iterdir()) for e in EventFileLoader(str(path)).Load()]


def values(folder: Path) -> dict[str, Any]:
    return {value.tag: value for event in events(folder) for value in event.summary.value}


def test_results_and_hyper_parameters_are_there_once(tmp_path: Path) -> None:
    for _ in range(2):
        write_board(tmp_path, preset("tiny"), RESULT)
    assert len(list(tmp_path.iterdir())) == 1
    found = values(tmp_path)
    assert "result/test_accuracy" in found
    assert "result/test_loss" not in found
    start = found["_hparams_/session_start_info"].metadata.plugin_data.content
    assert b"train.epochs" in start
    assert b"topology.t_start" in start


def test_scalars_stay_beside_them(tmp_path: Path) -> None:
    scalars = Scalars(tmp_path)
    scalars.add({"stage": "train", "epoch": 0, "loss": 1.5})
    scalars.close()
    write_board(tmp_path, preset("tiny"), RESULT)
    assert {"train/loss", "result/parameters"} <= set(values(tmp_path))
