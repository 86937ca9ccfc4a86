"""What else could have been chosen: the table, the front, the limit."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from dots.report import write_report
from dots.report.alternatives import alternatives, shown
from dots.report.reading import read_run
from helpers.fabricated_alternatives import alternatives as fabricated
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate, write
from helpers.html_pages import check


def test_the_table_is_relative_to_the_most_probable(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    top = json.loads((run / "alternatives.json").read_text())["top"]
    found = alternatives(read_run(run))
    assert found is not None
    assert [one for _, _, one in found.cells] == [True] + [False] * 9
    assert found.cells[0][1] == 1
    second = math.exp(top[1]["log_probability"] - top[0]["log_probability"])
    assert found.cells[1][1] == pytest.approx(second)
    assert found.metrics == ("parameters", "multiply_adds")
    assert len(found.charts) == 2
    text = check(write_report(run).read_text()).text
    assert "What else could have been chosen" in text
    assert "this one" in text


def test_the_front_rises_with_the_cost(tmp_path: Path) -> None:
    found = alternatives(read_run(fabricate(tmp_path / "run")))
    assert found is not None
    moves = re.search(r'points="([^"]*)" class="line s0"', found.charts[0])
    assert moves is not None
    corners = [tuple(map(float, pair.split(","))) for pair in moves[1].split()]
    assert len(corners) == 1 + 2 * 7
    xs, ys = zip(*corners, strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)  # up is smaller in a picture


def test_limits_are_named_and_drawn(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    content = fabricated(np.random.default_rng(0), {"parameters": 150_000})
    write(run / "alternatives.json", content)
    found = alternatives(read_run(run))
    assert found is not None
    assert found.limits == ("150.0 k parameters",)
    assert ">limit</text>" in found.charts[0]
    assert ">limit</text>" not in found.charts[1]
    assert "with at most 150.0 k parameters" in check(write_report(run).read_text()).text


def test_latencies_are_in_milliseconds(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    cells = [
        {"log_probability": -p, "costs": {"nanoseconds": ns}}
        for p, ns in ((1, 2.5e6), (2, 1.5e6), (4, 1e6))
    ]
    write(
        run / "alternatives.json",
        {"top": cells, "chosen": cells[1], "pareto": {"nanoseconds": cells}},
    )
    found = alternatives(read_run(run))
    assert found is not None
    assert [
        [shown(cost, metric) for metric, cost in cell.costs.items()] for cell, _, _ in found.cells
    ] == [["2.5 ms"], ["1.5 ms"], ["1 ms"]]
    assert [one for _, _, one in found.cells] == [False, True, False]
    assert "latency in ms" in found.charts[0]


def test_a_run_without_the_file_says_so(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="operations"))
    assert alternatives(read_run(run)) is None
    assert "no list of alternatives" in check(write_report(run).read_text()).text
