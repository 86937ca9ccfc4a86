"""Reading run directories that are torn, growing, or not what they should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.common.records import MetricRow
from dots.report.reading import read_lines, read_run
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate

ROW = {"stage": "train", "epoch": 0, "loss": 1.5}


def test_a_torn_last_line_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    text = json.dumps(ROW) + "\n" + json.dumps(ROW | {"epoch": 1})
    for cut in range(len(json.dumps(ROW)) + 1, len(text)):
        path.write_text(text[:cut])
        rows, bad = read_lines(path, MetricRow)
        assert [row.epoch for row in rows] == [0]
        assert bad == 0
    path.write_text(text)  # whole, but its line break is still to come
    assert [row.epoch for row in read_lines(path, MetricRow)[0]] == [0, 1]


def test_a_torn_character_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes((json.dumps(ROW) + "\n").encode() + '{"stage": "é'.encode()[:-1])
    assert len(read_lines(path, MetricRow)[0]) == 1


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(epochs=(2, 2, 2)))
    with open(run / "metrics.jsonl", "a") as file:
        file.write('nonsense\n{"stage": 3}\n' + json.dumps(ROW | {"epoch": 2}) + "\n")
    read = read_run(run)
    assert read.broken == ("metrics.jsonl: 2 unreadable lines were left out",)
    assert [row.epoch for row in read.rows("train")] == [0, 1, 2]


def test_of_an_epoch_that_was_run_twice_the_later_counts(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(epochs=(2, 2, 2)))
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps(ROW | {"loss": 7.25}) + "\n")
    rows = read_run(run).rows("train")
    assert (rows[0].epoch, rows[0].number("loss")) == (0, 7.25)
    assert len(rows) == 2


def test_numbers_that_are_none(tmp_path: Path) -> None:
    row = MetricRow.model_validate(ROW | {"a": None, "b": "x", "c": True, "d": float("nan")})
    assert [row.number(key) for key in ("loss", "a", "b", "c", "d", "e")] == [1.5, *[None] * 5]


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    (run / "result.json").write_text('{"test_accuracy": 97.5}')
    (run / "test.json").write_text('{"classes": ["a", "b"], "confusion": [[1]]}')
    (run / "recipe.json").write_text("[]")
    (run / "genotype.json").write_text('{"normal": 3}')
    broken = "; ".join(read_run(run).broken)
    assert "result.json: test_accuracy: Input should be less than or equal to 1" in broken
    assert "test.json: the confusion matrix is not 2 x 2" in broken
    assert "recipe.json: expected an object" in broken
    assert "genotype.json" in broken


def test_a_genotype_that_stands_only_in_the_result_is_used(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    random = json.loads((run / "genotype-random.json").read_text())
    (run / "genotype-random.json").unlink()
    result = json.loads((run / "result.json").read_text())
    result["baselines"]["random"]["genotype"] = random
    (run / "result.json").write_text(json.dumps(result))
    assert read_run(run).genotypes["random"].to_json() == random


def test_settings_by_dotted_name(tmp_path: Path) -> None:
    run = read_run(fabricate(tmp_path / "run", Plan(epochs=(2, 3, 4))))
    assert run.setting("topology.epochs") == 3
    assert run.setting("topology.nothing") is None
    assert run.setting("seed.deeper") is None


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no run directory"):
        read_run(tmp_path / "file")
