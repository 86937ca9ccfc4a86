"""dots zoo list, show and table: printed and counted figures, without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dots import zoo
from dots.cli.app import run
from dots.zoo.paper import TABLE_1, TABLE_3


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(words) == 0
    return capsys.readouterr().out


def line_of(text: str, start: str) -> list[str]:
    """The cells of the first line of a table that begins with `start`."""
    line = next(line for line in text.splitlines() if line.startswith(f"│ {start}"))
    return [part.strip() for part in line.strip("│").split("│")]


def test_the_list_has_printed_beside_counted(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "zoo", "list")
    assert all(name in text for name in zoo.names())
    cells = line_of(text, "DOTS_C10 ")
    assert cells[:3] == ["DOTS_C10", "DOTS (CVPR 2021)", "cifar10"]
    assert cells[4:] == ["3.5", "3.526", "-", "546.7", ""]
    ours = line_of(text, "DARTS_V2 ")
    assert ours[4:6] == ["3.4", "3.349"]
    assert "[1] No width gives the printed pair." in text


def test_the_list_as_json_keeps_sources_and_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(shown(capsys, "zoo", "list", "--json"))
    assert {row["name"] for row in rows} == set(zoo.names())
    gdas = next(row for row in rows if (row["name"], row["data"]) == ("GDAS_V1", "imagenet"))
    assert gdas["printed_multiply_adds_M"] == 581
    assert gdas["counted"]["multiply_adds"] == 581_009_000
    assert gdas["counted"]["channels"] == 50
    assert gdas["repository"]


def test_table_1_has_every_row_and_our_counts(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "zoo", "table", "1")
    assert all(f"│ {row.architecture}" in text for row in TABLE_1)
    dots = line_of(text, "DOTS (best)")
    assert dots == ["DOTS (best)", "97.63", "3.5", "3.526", "83.72", "4.1", "4.061", "0.26",
                    "GD", ""]  # fmt: skip
    assert line_of(text, "DropNAS")[5] == "4.0"
    assert line_of(text, "MergeNAS")[3] == "-"


def test_table_3_has_every_row_and_our_counts(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "zoo", "table", "3")
    assert all(f"│ {row.architecture}" in text for row in TABLE_3)
    mobile = line_of(text, "MobileNet")
    assert mobile[1:7] == ["70.6", "89.5", "4.2", "4.232", "569", "568.7"]
    rows = json.loads(shown(capsys, "zoo", "table", "3", "--json"))
    assert len(rows) == len(TABLE_3)
    assert rows[1]["counted"]["multiply_adds"] == pytest.approx(568.7e6, rel=1e-3)
    assert rows[1]["source"] == {"cell": None, "reference": "mobilenet"}


def test_other_tables_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zoo", "table", "2"]) == 2
    assert "choose 1 (CIFAR) or 3 (ImageNet)" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["zoo", "list"], ["zoo", "table", "1"], ["zoo", "table", "3"]])
def test_the_zoo_is_shown_without_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom dots.cli.app import run\n"
        f"run({words!r})\nsys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-500:]


def test_a_cell_is_shown_in_the_formats_of_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = shown(capsys, "zoo", "show", "DARTS_V2", "--format", "darts")
    assert text.startswith("Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ")
    file = tmp_path / "cell.txt"
    file.write_text(text)
    assert "normal/op_2_0" in json.loads(shown(capsys, "zoo", "show", str(file), "--format", "nni"))
    same = shown(capsys, "zoo", "show", "DARTS_V2", "--json")
    assert shown(capsys, "zoo", "show", str(file), "--format", "dots") == same
    assert shown(capsys, "zoo", "show", str(file)) == f"{zoo.resolve(text).describe()}\n"
    assert shown(capsys, "zoo", "show", "DARTS_V2", "--format", "dot").startswith("digraph")


@pytest.mark.parametrize(
    ("form", "line"), [("dart", "did you mean 'dart"), ("nasbench201", "no NAS-Bench-201 cell")]
)
def test_formats_that_do_not_exist_or_fit_are_refused(
    form: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["zoo", "show", "DARTS_V2", "--format", form]) == 2
    said = capsys.readouterr()
    assert line in said.err
    assert not said.out
