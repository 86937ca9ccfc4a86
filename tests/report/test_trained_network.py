"""Runs that only trained: a cell of the zoo, a cell from a file, a reference network."""

from __future__ import annotations

from pathlib import Path

from dots.report import write_comparison, write_report
from dots.report.reading import read_run
from dots.report.verdict import trained_network, verdict
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate, only_trained
from helpers.html_pages import check

SHORT = Plan(epochs=(2, 2, 2))


def test_each_kind_has_its_name(tmp_path: Path) -> None:
    searched = trained_network(read_run(fabricate(tmp_path / "searched", SHORT)))
    assert (searched.kind, searched.title) == ("found", "Found cell")
    mobile = trained_network(read_run(only_trained(tmp_path / "mobile", reference="mobilenet")))
    assert (mobile.kind, mobile.title) == ("reference", "mobilenet")
    darts = trained_network(read_run(only_trained(tmp_path / "darts", cell="DARTS_V2")))
    assert (darts.kind, darts.title) == ("given", "DARTS_V2")
    other = trained_network(read_run(only_trained(tmp_path / "other")))
    assert (other.kind, other.title) == ("given", "Given cell")


def test_nothing_is_called_found_where_nothing_was_searched(tmp_path: Path) -> None:
    found = verdict(read_run(only_trained(tmp_path / "mobile", reference="mobilenet")))
    assert found is not None
    assert found.sentence == (
        "This run did not search: it trained a reference network, mobilenet, to 97.50 %; the "
        "random cell reached 96.67 % (+0.83 points)."
    )
    assert [title for title, _, _ in found.rows][:2] == ["mobilenet", "Random cell"]
    page = check(write_report(tmp_path / "mobile").read_text())
    assert "What was trained" in page.text
    assert "Was the search worth it?" not in page.text


def test_a_comparison_names_them_in_table_and_charts(tmp_path: Path) -> None:
    runs = [
        fabricate(tmp_path / "searched", SHORT),
        only_trained(tmp_path / "darts", cell="DARTS_V2"),
        only_trained(tmp_path / "mobile", reference="mobilenet"),
    ]
    page = check(write_comparison(runs, tmp_path / "page.html").read_text())
    assert "none: DARTS_V2" in page.text
    assert "none: mobilenet" in page.text
    charts = [
        one["aria-label"]
        for one in page.all("svg")
        if "Accuracy against" in one.get("aria-label", "")
    ]
    assert len(charts) == 2
    for chart in charts:
        for label in ("A: ", "B DARTS_V2: ", "C mobilenet: "):
            assert label in chart
    assert "Circles are found cells" in page.text
    assert "bars reference networks." in page.text
    assert "diamonds" not in page.text
