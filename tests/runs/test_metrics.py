"""Metrics: the CSV and the TensorBoard events show what the JSON lines hold, once."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

from dots.runs.metrics import Metrics, write_csv

ROWS: list[dict[str, Any]] = [
    {"stage": "operations", "epoch": 0, "loss": 2.5, "accuracy": 0.25},
    {"stage": "operations", "epoch": 1, "loss": 1.5, "accuracy": 0.5},
    {"stage": "topology", "epoch": 0, "loss": 1.0, "temperature": 10.0, "ok": True},
]


def events(folder: Path) -> list[tuple[str, int, float]]:
    """Every scalar in every event file, as TensorBoard reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    return [
        (value.tag, event.step, float(make_ndarray(value.tensor)))
        for file in sorted(folder.glob("events.out.tfevents.*"))
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]


def expected_events(rows: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    return [
        (f"{row['stage']}/{name}", row["epoch"], float(value))
        for row in rows
        for name, value in row.items()
        if name not in ("stage", "epoch")
    ]


def test_all_three_show_the_same_also_after_a_resume(tmp_path: Path) -> None:
    first = Metrics(tmp_path)
    for row in ROWS:
        first.append(row)
    first.sync()
    assert events(tmp_path / "tensorboard") == expected_events(ROWS)
    # The process dies without closing. The next one finds its files, and repeats an epoch.
    second = Metrics(tmp_path)
    second.repair()
    second.rewind("operations", 1)
    assert second.rows() == ROWS[:1]
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2
    for row in ROWS[1:]:
        second.append(row)
    second.sync()
    second.close()
    assert second.rows() == ROWS
    assert events(tmp_path / "tensorboard") == expected_events(ROWS)
    first.close()


def test_the_table_has_the_union_of_all_columns(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for row in ROWS:
        metrics.append(row)
    metrics.sync()
    metrics.close()
    with open(tmp_path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["stage", "epoch", "loss", "accuracy", "temperature", "ok"]
    assert table[2] == {
        "stage": "topology", "epoch": "0", "loss": "1.0",
        "accuracy": "", "temperature": "10.0", "ok": "true",
    }  # fmt: skip


def test_cells_that_are_no_numbers_survive_the_table(tmp_path: Path) -> None:
    row = {"stage": 'a,"b"\nc', "epoch": 0, "list": [1, 2.5], "none": None}
    write_csv(tmp_path / "t.csv", [row])
    with open(tmp_path / "t.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"stage": 'a,"b"\nc', "epoch": "0", "list": "[1, 2.5]", "none": ""}
        ]
    write_csv(tmp_path / "t.csv", [])
    assert (tmp_path / "t.csv").read_text() == ""


def test_a_loss_that_is_not_finite_is_shown_as_nothing(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.append({"stage": "train", "epoch": 0, "loss": float("nan")})
    metrics.sync()
    metrics.close()
    assert metrics.rows() == [{"stage": "train", "epoch": 0, "loss": None}]
    assert (tmp_path / "metrics.csv").read_text() == "stage,epoch,loss\ntrain,0,\n"
