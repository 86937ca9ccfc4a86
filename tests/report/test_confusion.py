"""The confusion matrix as a page shows it."""

from __future__ import annotations

import json
from pathlib import Path

from dots.report.confusion import ConfusionView, confusion_view
from dots.report.reading import read_run
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate


def view(tmp_path: Path, classes: list[str], confusion: list[list[int]]) -> ConfusionView:
    run = fabricate(tmp_path / "run", Plan(until="operations"))
    (run / "test.json").write_text(json.dumps({"classes": classes, "confusion": confusion}))
    found = confusion_view(read_run(run))
    assert found is not None
    return found


def test_counts_shares_and_shades(tmp_path: Path) -> None:
    found = view(tmp_path, ["cat", "dog", "owl"], [[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    assert (found.images, found.wrong) == (20, 2)
    first, second, third = found.matrix
    assert [square.count for square in first.squares] == [8, 2, 0]
    assert [square.diagonal for square in first.squares] == [True, False, False]
    assert first.squares[1].spoken == "2 of cat taken for dog"
    assert second.squares[1].shade == 8
    assert 0 < first.squares[1].shade < first.squares[0].shade
    assert first.squares[2].shade == 0
    assert (first.recall, second.recall, third.recall) == ("80.0 %", "100.0 %", "no images")
    assert found.upright


def test_the_most_frequent_mistakes_come_first(tmp_path: Path) -> None:
    found = view(tmp_path, ["a", "b", "c"], [[5, 1, 4], [2, 8, 0], [0, 0, 10]])
    assert [(p.true, p.predicted, p.count, p.share) for p in found.pairs] == [
        ("a", "c", 4, "40.0 %"),
        ("b", "a", 2, "20.0 %"),
        ("a", "b", 1, "10.0 %"),
    ]


def test_many_classes_become_lists(tmp_path: Path) -> None:
    size = 31
    confusion = [[10 * (i == j) for j in range(size)] for i in range(size)]
    confusion[7][7], confusion[7][3] = 4, 6
    found = view(tmp_path, [f"class {index}" for index in range(size)], confusion)
    assert found.matrix == ()
    assert next((row.name, row.right, row.total) for row in found.worst) == ("class 7", 4, 10)
    assert [(pair.true, pair.predicted) for pair in found.pairs] == [("class 7", "class 3")]
