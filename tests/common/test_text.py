"""What comes from outside reaches terminals and spreadsheets as something to read."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dots.cli.app import run
from dots.common.text import csv_cell, plain
from dots.runs.metrics import write_csv
from dots.runs.predict import Prediction, csv_lines
from dots.runs.progress import Shown

HOSTILE = "cat\n\x1b[2J\x9bm\u202egnp\u2028.\udcff"
SAFE = "cat\\n\\x1b[2J\\x9bm\\u202egnp\\u2028.\\udcff"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert plain(HOSTILE) == SAFE
    assert plain(Path("a\tb")) == "a\\tb"


@pytest.mark.parametrize("text", ["Zebra", "Äpfel, 苹果 🍎", "[bold]x[/]", "C:\\new", ""])
def test_other_text_stays(text: str) -> None:
    assert plain(text) == text


@given(text=st.text())
def test_nothing_without_a_shape_is_left(text: str) -> None:
    found = plain(text)
    assert found.isprintable() or all(c.isspace() for c in found if not c.isprintable())
    assert len(found.splitlines()) <= 1
    assert plain(found) == found


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert csv_cell(text)[0] == "'"
    assert csv_cell("a" + text)[0] == "a"


def test_tables_of_predictions_and_metrics(tmp_path: Path) -> None:
    prediction = Prediction("=cmd.png", ((HOSTILE, 0.75),))
    lines = list(csv_lines(iter([prediction]), 1))
    assert list(csv.reader(io.StringIO("\n".join(lines))))[1:] == [["'=cmd.png", SAFE, "0.750000"]]
    write_csv(tmp_path / "m.csv", [{"stage": "=x", "loss": -0.5}])
    assert (tmp_path / "m.csv").read_text() == "stage,loss\n'=x,-0.5\n"


def test_progress_and_errors_keep_to_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    Shown(Console(file=out, width=200)).say(f"notice: {HOSTILE}")
    assert out.getvalue() == f"notice: {SAFE}\n"
    assert run(["study", "repeat", "digits", "--seeds", "1\x1b[2J\n2"]) == 2
    assert capsys.readouterr().err.startswith("dots: --seeds 1\\x1b[2J\\n2: ")
