"""dots runs, dots --version, dots.toml, tables of labels: what the command line prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import dots
from dots.cli.app import run
from dots.common.records import RECIPE, RESULT

FIXTURES = Path(__file__).parents[1] / "fixtures/runs-5c6078a"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_listed_with_state_accuracy_and_cost(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FIXTURES, place / "runs")
    shutil.copytree(FIXTURES / "finished", place / "runs/torn")
    (place / "runs/torn" / RECIPE).write_text("{")
    assert run(["runs", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(found) == {"finished", "interrupted", "torn"}
    result = json.loads((FIXTURES / "finished" / RESULT).read_text())
    finished, interrupted = found["finished"], found["interrupted"]
    assert finished["state"] == "finished"
    assert finished["accuracy"] == result["test_accuracy"]
    assert finished["random_accuracy"] == result["baselines"]["random"]["test_accuracy"]
    rows = (FIXTURES / "finished/metrics.jsonl").read_text().splitlines()
    seconds = sum(json.loads(row)["cpu_seconds"] for row in rows)
    assert finished["cpu_seconds"] == pytest.approx(seconds)
    assert interrupted["state"] == "interrupted"
    assert interrupted["accuracy"] is None
    assert found["torn"]["state"].startswith("damaged: ")
    assert run(["runs"]) == 0
    printed = capsys.readouterr().out
    assert f"{result['test_accuracy']:.2%}" in printed
    assert "damaged" in printed


def test_a_run_whose_process_lives_is_running(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FIXTURES / "interrupted", place / "runs/one")
    from dots.runs.directory import RunDirectory

    with RunDirectory.open(place / "runs/one"):
        assert run(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "running"


def test_no_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs"]) == 2
    assert "no folder 'runs'" in capsys.readouterr().err
    (place / "runs").mkdir()
    assert run(["runs"]) == 0
    assert capsys.readouterr().out == "no runs in runs\n"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"dots {dots.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_DOTS_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "dots ch")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "dots ch")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    run([])
    assert "check" in capsys.readouterr().out


def _images(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / label / f"{number}.png")


def test_dots_toml_gives_defaults_and_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _images(place / "pets")
    (place / "dots.toml").write_text('preset = "tiny"\nseed = 7\n[operations]\nchannels = 2\n')
    words = ["search", "pets", "--until", "operations", "--out", "one", "--quiet", "--dry-run"]
    assert run(words) == 0
    said = "dots: settings from dots.toml: preset, seed, operations.channels"
    assert said in capsys.readouterr().err
    recipe = json.loads((place / "one" / RECIPE).read_text())
    assert (recipe["preset"], recipe["seed"], recipe["operations"]["channels"]) == ("tiny", 7, 2)
    (place / "dots.toml").write_text('preset = "small"\nseed = 7\n')
    assert run([*words[:5], "two", "--quiet", "--dry-run", "--preset", "tiny", "--seed", "8"]) == 0
    recipe = json.loads((place / "two" / RECIPE).read_text())
    assert (recipe["preset"], recipe["seed"]) == ("tiny", 8)
    (place / "dots.toml").write_text("sead = 7\n")
    assert run([*words[:5], "three"]) == 2
    assert "\"sead\" in 'dots.toml'" in capsys.readouterr().err.splitlines()[-1]


def test_a_table_of_labels_is_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _images(place / "pets")
    rows = [f"{label}/{number}.png,{label}" for label in ("cat", "dog") for number in range(8)]
    (place / "labels.csv").write_text("\n".join(["file,label", *rows]))
    words = ["--labels", "labels.csv", "--images", "pets"]
    assert run(["check", *words, "--no-estimate"]) == 0
    assert "'cat' 8, 'dog' 8" in capsys.readouterr().out
    quick = ["--preset", "tiny", "--dry-run", "--out", "one", "--quiet"]
    assert run(["search", *words, "--until", "operations", *quick]) == 0
    recipe = json.loads((place / "one" / RECIPE).read_text())
    assert recipe["data"]["images"] == str(place / "pets")
    assert run(["run", "digits", *words]) == 2
    assert "exclude each other" in capsys.readouterr().err
