"""The report of a run: what it says, that it stands alone, and that it never fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.report import write_report
from dots.report.reading import KNOWN_FILES
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate
from helpers.html_pages import Page, check

WEIRD = (
    '<b>bold</b> & "quotes"',
    "line\nbreak",
    "\u202egnp.exe",
    "long " * 60,
    "",
    "日本語",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "it's",
    "{{ 7 * 7 }}",
)
SMALL = Plan(nodes=2, epochs=(2, 3, 2), classes=("cat", "dog"), edges="any", winner="random-1")


def page_of(run: Path) -> Page:
    return check(write_report(run).read_text())


def test_says_the_numbers(tmp_path: Path) -> None:
    page = page_of(fabricate(tmp_path / "run", Plan(accuracy=0.9712, random_accuracy=0.9634)))
    for words in (
        "97.12 %",  # test accuracy
        "99.12 %",  # top-5
        "97.02 %",  # balanced
        "184.3 k",  # parameters
        "29.49 M",  # multiply-adds
        "1 min 23 s",  # search
        "2 min 40 s of CPU time",
        "1 min 2 s",  # training
        "96.34 %",  # the random cell
        "−0.78 points",
        "DARTS-policy cell",
        "dots run digits --preset quick --seed 0 --out run",
        "3 images have a colour palette: converted to RGB",
        "2.14.1",
        "1440 training and 360 test images",
    ):
        assert words in page.text, words


def test_shows_every_part(tmp_path: Path) -> None:
    page = page_of(fabricate(tmp_path / "run"))
    images = [one for one in page.all("img") if one["src"].startswith("data:image/png;base64,")]
    assert len(images) == 16 + 12
    cells = [one for one in page.all("svg") if "dots-cell" in one["class"]]
    assert len(cells) == 3 * 2  # found, random, DARTS policy; normal and reduction
    labels = " ".join(one["aria-label"] for one in page.all("svg"))
    for chart in ("Loss", "Accuracy in %", "Node 3: 10 combinations", "Temperature", "entropy"):
        assert chart in labels
    assert "not complete" not in page.text
    assert "Node 0 had only one combination" in page.text


def test_replays_every_epoch(tmp_path: Path) -> None:
    page = page_of(fabricate(tmp_path / "run", Plan(epochs=(3, 4, 2))))
    frames = page.replay["frames"]
    assert [frame["label"].split(",")[0] for frame in frames] == ["Operation search"] * 3 + [
        "Topology search"
    ] * 4
    assert frames[0]["kinds"]["normal"]["gamma"] is None
    topology = frames[-1]["kinds"]["reduce"]
    assert len(topology["gamma"]) == len(topology["alpha"]) == 14
    assert all(sum(value is not None for value in row) == 2 for row in topology["alpha"])


def test_a_long_search_is_thinned_but_keeps_its_ends(tmp_path: Path) -> None:
    page = page_of(fabricate(tmp_path / "run", Plan(epochs=(150, 100, 2))))
    frames = page.replay["frames"]
    assert len(frames) == 120
    assert frames[0]["label"] == "Operation search, epoch 1"
    assert frames[-1]["label"] == "Topology search, epoch 100, T = 0.02"
    assert "only every few epochs" in page.text


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("operations", "No cell has been derived yet"),
        ("topology", "No cell has been tested yet"),
        ("train", "The network has not been tested yet"),
    ],
)
def test_a_partial_run_says_what_is_missing(tmp_path: Path, until: str, said: str) -> None:
    page = page_of(fabricate(tmp_path / "run", Plan(until=until)))
    assert "This run is not complete" in page.text
    assert "result.json : the final numbers" in page.text
    assert said in page.text


@pytest.mark.parametrize("until", ["operations", "result"])
def test_what_was_said_stands_first(tmp_path: Path, until: str) -> None:
    """Also where a search has no result that could say it."""
    run = fabricate(tmp_path / "run", Plan(until=until))
    said = "the search of the operations did not learn"
    (run / "notices.json").write_text(json.dumps([said]))
    text = page_of(run).text
    heading = text.index("What was said of this run")
    assert heading < text.index(said) < text.index("Notices")


@pytest.mark.parametrize("name", KNOWN_FILES)
@pytest.mark.parametrize("damage", ["absent", "empty", "torn", "wrong"])
def test_any_file_may_be_absent_or_damaged(tmp_path: Path, name: str, damage: str) -> None:
    run = fabricate(tmp_path / "run", SMALL)
    content = (run / name).read_bytes()
    if damage == "absent":
        (run / name).unlink()
    else:
        torn = content[: len(content) // 2]
        (run / name).write_bytes({"empty": b"", "torn": torn, "wrong": b'["a", {"b": 1}]'}[damage])
    page = page_of(run)
    if damage in ("torn", "wrong") and name.endswith(".json"):
        assert "Files that could not be read" in page.text
        assert name in page.text


def test_a_run_that_only_trained_a_given_cell_lacks_nothing(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    (run / "candidates.json").unlink()
    (run / "architecture.jsonl").unlink()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [json.dumps(row) + "\n" for row in rows if row["stage"].startswith("train")]
    (run / "metrics.jsonl").write_text("".join(kept))
    page = page_of(run)
    assert "not complete" not in page.text
    assert "This run did not search" in page.text
    assert "not part of this run" in page.text


@pytest.mark.parametrize(
    "plan",
    [
        Plan(space="nasbench201"),
        Plan(space="s3", retain="top2"),
        Plan(nodes=5, retain="top2"),
        Plan(nodes=1),
        Plan(edges="any"),
        Plan(edges=3),
        Plan(parameterisation="edges"),
        Plan(parameterisation="sigmoid"),
        Plan(retain="group-v1"),
        Plan(retain="top1", baselines=()),
        Plan(epochs=(1, 1, 1), baselines=("random",)),
        Plan(classes=("cat", "dog"), test_images=3, accuracy=1.0, random_accuracy=1.0),
    ],
    ids=lambda plan: (
        f"{plan.space}-{plan.nodes}-{plan.edges}-{plan.parameterisation}-{plan.retain}"
    ),
)
def test_every_kind_of_run(tmp_path: Path, plan: Plan) -> None:
    page = page_of(fabricate(tmp_path / "run", plan))
    assert "could not be read" not in page.text
    assert ("Reduction cell" in page.text) == (plan.space != "nasbench201")


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    source = write_report(fabricate(tmp_path / "run", Plan(classes=WEIRD, name="<i>data</i>")))
    text = source.read_text()
    page = check(text)
    assert page.tags["script"] == 2
    assert page.tags["b"] == page.tags["i"] == 0
    assert not any(name.startswith("on") for _, values in page.attributes for name in values)
    assert '<b>bold</b> & "quotes"' in page.text
    assert "line\\nbreak" in page.text
    assert "\\u202egnp.exe" in page.text
    assert "(empty)" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "long " * 20 not in page.text


def test_a_hundred_classes_give_a_short_page(tmp_path: Path) -> None:
    names = tuple(f"class {index}" for index in range(100))
    plan = Plan(classes=names, accuracy=0.7, test_images=10_000)
    path = write_report(fabricate(tmp_path / "run", plan))
    page = check(path.read_text())
    assert "3000 of 10000 test images were taken for another class" in page.text
    assert "Mixed up most often" in page.text
    assert "true \\ said" not in page.text
    assert path.stat().st_size < 600_000


def test_the_size_stays_reasonable(tmp_path: Path) -> None:
    path = write_report(fabricate(tmp_path / "run", Plan(epochs=(250, 40, 600))))
    assert path.stat().st_size < 2_000_000


def test_replaces_an_older_page_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    (run / "report.html").write_text("old")
    before = {path.name for path in run.iterdir()}
    assert write_report(run) == run / "report.html"
    assert {path.name for path in run.iterdir()} == before
    assert (run / "report.html").read_text() != "old"


def test_the_page_depends_on_the_files_alone(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reports_need_no_torch() -> None:
    code = "import sys, dots.report, dots.report.progress; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
