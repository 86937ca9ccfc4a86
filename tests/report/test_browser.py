"""The pages in a real browser, at the width of a phone and of a desk; needs Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from dots.report import write_comparison, write_report
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate, only_trained

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)
WIDTHS = (390, 1280)
PROBE = """<script>
const slider = document.getElementById("replay-slider");
const label = document.getElementById("replay-label");
const found = {width: window.innerWidth, page: document.documentElement.scrollWidth};
function sides() {
  return [...document.querySelectorAll(".replay-cell .square")].map(s => s.getAttribute("width"));
}
if (slider) {
  found.last = label.textContent;
  found.end = sides();
  slider.value = 0;
  slider.dispatchEvent(new Event("input"));
  found.first = label.textContent;
  found.start = sides();
}
const line = [];
for (const text of document.querySelectorAll("svg.chart text")) {
  const box = text.getBoundingClientRect();
  const outer = text.ownerSVGElement.getBoundingClientRect();
  if (box.left < outer.left - 2 || box.right > outer.right + 2) line.push(text.textContent);
}
found.outside = line;
parent.postMessage(JSON.stringify(found), "*");
</script>"""
FRAME = """<!doctype html><title>frame</title><script>
window.addEventListener("message", event => {{ document.body.dataset.probe = event.data; }});
</script><body><iframe src="{page}" width="{width}" height="900" style="border:0"></iframe>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser: install one of {', '.join(NAMES)}")


def probe(chromium: str, page: Path, width: int, tmp_path: Path) -> dict[str, Any]:
    """What the browser finds on a page; fails where its console says anything."""
    copy, frame = tmp_path / f"copy-{width}.html", tmp_path / f"frame-{width}.html"
    copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    # A window has a least width, which a frame has not.
    frame.write_text(FRAME.format(page=copy.name, width=width))
    profile = f"--user-data-dir={tmp_path / f'profile-{width}'}"
    command = [chromium, *QUIET, profile, "--window-size=1400,1000", "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert said == []
    match = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert match, "the page's scripts did not run"
    value: dict[str, Any] = json.loads(unescape(match[1]))
    return value


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("until", ["operations", "result"])
def test_a_report(chromium: str, tmp_path: Path, width: int, until: str) -> None:
    names = ("a very long name " * 9, "<b>", *map(str, range(20)))
    page = write_report(fabricate(tmp_path / "run", Plan(until=until, classes=names)))
    found = probe(chromium, page, width, tmp_path)
    assert found["width"] == width
    assert found["page"] <= width, "the page is wider than the window"
    assert found["outside"] == []
    assert found["first"] == "Operation search, epoch 1"
    assert found["last"] != found["first"]
    assert found["start"] != found["end"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_search_with_a_table(chromium: str, tmp_path: Path, width: int) -> None:
    plan = Plan(space="nasbench201", truth=True)
    found = probe(chromium, write_report(fabricate(tmp_path / "run", plan)), width, tmp_path)
    assert found["page"] <= width
    assert found["outside"] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_with_networks_that_were_not_searched(
    chromium: str, tmp_path: Path, width: int
) -> None:
    runs = [
        fabricate(tmp_path / "searched"),
        only_trained(tmp_path / "a zoo cell", cell="DARTS_minus_C100_s0_0"),
        only_trained(tmp_path / "mobile", reference="mobilenet"),
    ]
    found = probe(chromium, write_comparison(runs, tmp_path), width, tmp_path)
    assert found["page"] <= width
    assert found["outside"] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison(chromium: str, tmp_path: Path, width: int) -> None:
    runs = [fabricate(tmp_path / f"run-{seed}", Plan(seed=seed)) for seed in range(3)]
    found = probe(chromium, write_comparison(runs, tmp_path), width, tmp_path)
    assert found["page"] <= width
    assert found["outside"] == []
