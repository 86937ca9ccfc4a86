"""Known networks beside the trained ones: in the table, as ticks, and never as trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dots.report import write_report
from dots.report.charts.points import Dot, scatter_chart
from dots.report.reading import read_run
from dots.report.verdict import sizes
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate
from helpers.html_pages import check

SHORT = Plan(epochs=(2, 2, 2))


def test_the_table_has_all_by_parameters(tmp_path: Path) -> None:
    found = sizes(read_run(fabricate(tmp_path / "run", SHORT)))
    names = [name for name, _, _, _ in found]
    assert names == [
        "DARTS_V2",
        "DARTS-policy cell",
        "Found cell",
        "DOTS_C10",
        "Random cell",
        "mobilenet",
    ]
    assert [trained for _, _, _, trained in found] == [False, True, True, False, True, False]
    assert found[-1][1] == "reference network, not trained here"
    assert found[2][1] == "trained here, 97.50 %"


def test_the_page_says_that_they_were_not_trained(tmp_path: Path) -> None:
    page = check(write_report(fabricate(tmp_path / "run", SHORT)).read_text())
    assert "What 3 published cells and reference networks would cost" in page.text
    assert "They were not trained here" in page.text
    ticks = [one for one in page.all("line") if one.get("class") == "rug"]
    assert len(ticks) == 2 * 2  # both cells in both charts; mobilenet is far away


def test_without_counts_the_page_says_how_to_get_them(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", SHORT)
    (run / "sizes.json").unlink()
    page = check(write_report(run).read_text())
    assert "dots report RUN --sizes" in page.text
    assert "not trained here" not in page.text


def test_a_run_without_baselines_has_charts_with_ticks(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(epochs=(2, 2, 2), baselines=()))
    page = check(write_report(run).read_text())
    assert sum(one.get("class") == "rug" for one in page.all("line")) == 4


def test_ticks_stand_at_their_cost() -> None:
    dots = [Dot("a", 2.0, 0.9, 0), Dot("b", 4.0, 0.8, 1)]
    chart = str(scatter_chart(dots, "title", "cost", [2.0, 4.0, 100.0, 0.1]))
    ticks = re.findall(r'<line x1="([\d.]+)"[^>]*class="rug"', chart)
    circle = re.search(r'<circle cx="([\d.]+)"', chart)
    assert circle is not None
    assert len(ticks) == 2
    assert float(ticks[0]) == float(circle[1])


def test_damaged_counts_are_named(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", SHORT)
    content = json.loads((run / "sizes.json").read_text())
    content["networks"][0]["parameters"] = -1
    (run / "sizes.json").write_text(json.dumps(content))
    page = check(write_report(run).read_text())
    assert "sizes.json: networks.0.parameters" in page.text
