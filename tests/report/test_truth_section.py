"""What a report says of a search with a table of true accuracies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dots.report import write_report
from dots.report.reading import read_run
from dots.report.truth import column_name, truth
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate
from helpers.html_pages import check

PLAN = Plan(space="nasbench201", truth=True)


def test_the_table_repeats_the_result(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", PLAN)
    found = truth(read_run(run))
    assert [column.name for column in found] == [
        "CIFAR-10 test",
        "CIFAR-100 test",
        "ImageNet16-120 test",
    ]
    entries = found[0].entries
    assert list(entries) == [
        "Found cell",
        "Without topology search",
        "Best cell",
        "Random cell, mean",
    ]
    assert [entry and entry.rank for entry in entries.values()] == [204, 1447, 1, None]
    text = check(write_report(run).read_text()).text
    for words in ("93.72 %", "98.70 %", "1,447"):
        assert words in text
    assert found[0].said == (
        "The found cell has −0.65 points against the best cell, +6.66 points against the mean "
        "random one. The topology search changed it by +0.25 points."
    )


def test_the_page_has_the_section_only_with_a_table(tmp_path: Path) -> None:
    page = check(write_report(fabricate(tmp_path / "with", PLAN)).read_text())
    assert page.ids["truth"] == 1
    assert "#truth" in page.references
    assert "ImageNet16-120 test: The found cell has" in page.text
    page = check(write_report(fabricate(tmp_path / "without")).read_text())
    assert page.ids["truth"] == 0
    assert "#truth" not in page.references


def test_a_cell_that_the_table_lacks_is_said(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", PLAN)
    content = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(content | {"truth": None}))
    page = check(write_report(run).read_text())
    assert "The table does not have the found cell" in page.text
    assert "against the best cell" not in page.text


@pytest.mark.parametrize(
    ("name", "words"),
    [("cifar10_valid", "CIFAR-10 validation"), ("mine_test", "mine_test"), ("x\n", "x\\n")],
)
def test_names_of_columns(name: str, words: str) -> None:
    assert column_name(name) == words
