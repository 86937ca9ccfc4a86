"""dots predict, whole: a run and its ONNX file say the same of files, folders, and a pipe."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from dots.cli.app import run
from dots.export import export_run
from helpers import exported_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and three pictures in a folder."""
    folder = tmp_path_factory.mktemp("predict")
    exported_run.make_run(folder / "run")
    (folder / "images").mkdir()
    for number in range(3):
        colour = (90 * number, 250 - 90 * number, 128)
        Image.new("RGB", (40, 30), colour).save(folder / "images" / f"{number}.png")
    return folder


def test_a_folder_gives_a_line_of_five_for_each_image(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(place / "run"), str(place / "images")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        str(place / "images" / f"{number}.png") for number in range(3)
    ]
    assert all(line.count(" %") == 5 for line in lines)


def test_paths_come_from_a_pipe(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = f"{place}/images/2.png\n\n{place}/images/0.png\n"
    for words in ([], ["-"], ["-", str(place / "images" / "1.png")]):
        monkeypatch.setattr("sys.stdin", io.StringIO(piped))
        assert run(["predict", str(place / "run"), *words, "--json", "--batch", "1"]) == 0
        names = [Path(row["image"]).stem for row in json.loads(capsys.readouterr().out)]
        assert names == ["2", "0", "1"][: len(names)]
        assert len(names) == max(2, len(words) + 1)


def test_an_onnx_file_says_what_the_run_says(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=f"needs {module} (the test extra)")
    exported = export_run(place / "run", "onnx").path
    rows = []
    for network in (place / "run", exported):
        words = ["predict", str(network), str(place / "images"), "--csv", "--top", "3"]
        assert run(words) == 0
        rows.append(list(csv.reader(io.StringIO(capsys.readouterr().out))))
    assert len(rows[0]) == 4
    for ours, theirs in zip(*rows, strict=True):
        assert ours[:2] == theirs[:2]
    for ours, theirs in zip(rows[0][1:], rows[1][1:], strict=True):
        assert float(ours[2]) == pytest.approx(float(theirs[2]), abs=1e-4)


@pytest.mark.parametrize("words", [[], ["--csv"]])
def test_a_name_cannot_break_its_line_or_reach_the_terminal(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    picture = tmp_path / "=a\n\x1b[2J.png"
    Image.new("RGB", (40, 30)).save(picture)
    assert run(["predict", str(place / "run"), str(picture), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(words)
    assert "=a\\n\\x1b[2J.png" in lines[-1]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["{run}", "nowhere.png"], "nowhere.png"),
        (["{run}", "{run}/recipe.json"], "no image"),
        (["{run}", "{images}", "--top", "0"], "--top 0"),
        (["{run}", "{images}", "--batch", "0"], "--batch 0"),
        (["{run}", "{images}", "--json", "--csv"], "exclude each other"),
        (["nowhere", "{images}"], "no run 'nowhere'"),
        (["nowhere.onnx", "{images}"], "no file 'nowhere.onnx'"),
        (["{run}"], "the standard input held no path"),
    ],
)
def test_mistakes_are_one_line(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    error: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    filled = [word.format(run=place / "run", images=place / "images") for word in words]
    assert run(["predict", *filled]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert error in line


def test_a_file_that_is_no_network_is_refused(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (the test extra)")
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    assert run(["predict", str(tmp_path / "bad.onnx"), str(place / "images")]) == 2
    assert "is no ONNX network" in capsys.readouterr().err
