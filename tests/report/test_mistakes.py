"""The confusion matrix as a page shows it."""

from __future__ import annotations

import json
from pathlib import Path

from dots.report import write_report
from dots.report.mistakes import Confusion, confusion, shade
from dots.report.reading import read_run
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate
from helpers.html_pages import check


def view(tmp_path: Path, classes: list[str], matrix: list[list[int]]) -> Confusion:
    run = fabricate(tmp_path / "run", Plan(until="operations"))
    (run / "test.json").write_text(json.dumps({"classes": classes, "confusion": matrix}))
    found = confusion(read_run(run))
    assert found is not None
    return found


def test_counts_shares_and_shades(tmp_path: Path) -> None:
    found = view(tmp_path, ["cat", "dog", "owl"], [[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    assert (found.images, found.wrong) == (20, 2)
    assert found.matrix[0] == (8, 2, 0)
    assert shade(10, 10) == 8
    assert 0 < shade(2, 10) < shade(8, 10)
    assert shade(0, 10) == shade(0, 0) == 0
    page = check(write_report(tmp_path / "run").read_text()).text
    for words in ("80.0 %", "100.0 %", "no images"):
        assert words in page
    assert found.upright


def test_the_most_frequent_mistakes_come_first(tmp_path: Path) -> None:
    found = view(tmp_path, ["a", "b", "c"], [[5, 1, 4], [2, 8, 0], [0, 0, 10]])
    assert found.pairs == ((0, 2, 4), (1, 0, 2), (0, 1, 1))
    text = check(write_report(tmp_path / "run").read_text()).text
    assert "40.0 %" in text


def test_many_classes_become_lists(tmp_path: Path) -> None:
    size = 31
    matrix = [[10 * (i == j) for j in range(size)] for i in range(size)]
    matrix[7][7], matrix[7][3] = 4, 6
    found = view(tmp_path, [f"class {index}" for index in range(size)], matrix)
    assert not found.whole
    assert found.worst[0] == 7
    assert found.pairs == ((7, 3, 6),)
