"""Several runs on one page."""

from __future__ import annotations

from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.report import write_comparison
from dots.report.comparison import differences, letter, spreads
from dots.report.reading import read_run
from dots.report.wording import mean_and_deviation
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate
from helpers.html_pages import check

SHORT = (2, 2, 2)


def seeds(tmp_path: Path, found: list[float], random: list[float]) -> list[Path]:
    return [
        fabricate(
            tmp_path / f"run-{seed}",
            Plan(seed=seed, accuracy=one, random_accuracy=other, epochs=SHORT),
        )
        for seed, (one, other) in enumerate(zip(found, random, strict=True))
    ]


def test_shows_numbers_cells_and_differences(tmp_path: Path) -> None:
    runs = [
        fabricate(tmp_path / "pairs", Plan(accuracy=0.9712, epochs=SHORT)),
        fabricate(tmp_path / "any", Plan(accuracy=0.9834, edges="any", epochs=SHORT)),
        fabricate(tmp_path / "<half>", Plan(until="operations", epochs=SHORT)),
    ]
    out = write_comparison(runs, tmp_path / "page.html")
    page = check(out.read_text())
    for words in ("97.12 %", "98.34 %", "A: pairs", "B: any", "C: <half>", "topology.edges"):
        assert words in page.text, words
    assert "Not finished, so without numbers: <half>" in page.text
    assert "there is no spread" in page.text
    cells = [one for one in page.all("svg") if "dots-cell" in one["class"]]
    assert len(cells) == 2 * 2
    labels = " ".join(one["aria-label"] for one in page.all("svg"))
    assert "Accuracy against parameters" in labels


def test_seeds_have_a_spread(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [0.95, 0.96, 0.97], [0.95, 0.95, 0.98])
    other = fabricate(tmp_path / "other", Plan(edges="any", epochs=SHORT))
    (one,) = spreads([read_run(run) for run in [*runs, other]], ["A", "B", "C", "D"])
    assert one.names == ("A", "B", "C")
    assert mean_and_deviation(one.found) == "96.00 ± 1.00 %"
    assert mean_and_deviation(one.random) == "96.00 ± 1.73 %"
    assert mean_and_deviation(one.lead, signed=True) == "+0.00 ± 1.00 points"


def test_one_seed_twice_is_no_spread(tmp_path: Path) -> None:
    runs = [fabricate(tmp_path / name, Plan(epochs=SHORT)) for name in ("a", "b")]
    assert spreads([read_run(run) for run in runs], ["A", "B"]) == []


def test_other_data_cannot_be_compared(tmp_path: Path) -> None:
    runs = [fabricate(tmp_path / name, Plan(name=name, epochs=SHORT)) for name in ("a", "b")]
    page = check(write_comparison(runs, tmp_path).read_text())
    assert "on different data: their accuracies cannot be compared" in page.text


def test_other_training_is_told(tmp_path: Path) -> None:
    runs = [
        fabricate(tmp_path / "short", Plan(epochs=(2, 2, 2))),
        fabricate(tmp_path / "long", Plan(epochs=(2, 2, 3))),
    ]
    page = check(write_comparison(runs, tmp_path).read_text())
    assert "not trained with the same recipe" in page.text
    assert differences([read_run(run) for run in runs]) == [("train.epochs", ("2", "3"))]


def test_where_the_page_goes(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [0.9, 0.9], [0.9, 0.9])
    assert write_comparison(runs, tmp_path) == tmp_path / "comparison.html"
    with pytest.raises(UserError, match="no folder"):
        write_comparison(runs, tmp_path / "nowhere" / "page.html")
    with pytest.raises(UserError, match="two runs or more"):
        write_comparison(runs[:1], tmp_path)


def test_letters() -> None:
    assert [letter(index) for index in (0, 25, 26, 27, 52, 702)] == [
        "A", "Z", "AA", "AB", "BA", "AAA",
    ]  # fmt: skip
