"""A user's mistake: one line that names the thing, exit status 2, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dots.cli.app import run

GOOD_EDGE = {"op": "skip_connect", "from": 0}
REDUCE = {"reduce": [[GOOD_EDGE]], "reduce_concat": [2]}
OWN_IMAGENET = ("--own-skeleton", "--skeleton", "imagenet")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _pictures(folder: Path, count: int = 6, size: int = 12) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(len(str(folder)))
    for number in range(count):
        pixels = random.integers(0, 255, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def _refused(capsys: pytest.CaptureFixture[str], words: list[str], *named: str) -> str:
    """Run a command that must fail by one line holding `named`."""
    assert run(words) == 2
    error = capsys.readouterr().err
    line = error.strip().splitlines()[-1]
    assert line.startswith("dots: "), error
    assert "Traceback" not in error
    for text in named:
        assert text in line
    assert not list(Path.cwd().glob("runs/*"))
    return line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "nowhere"], ["'nowhere'", "Looked for"]),
        (["run", "digit"], ["did you mean digits"]),
        (["run"], ["no DATA"]),
        (["run", "digits", "--preset", "tinny"], ["tinny", "tiny"]),
        (["run", "digits", "--set", "train.epoch=3"], ["train.epoch", "train.epochs"]),
        (["run", "digits", "--set", "train.epochs=0"], ["train.epochs", "from 1"]),
        (["run", "digits", "--set", "train.epochs"], ["train.epochs"]),
        (["run", "digits", "--set", "topology.t_end=20"], ["t_end", "t_start"]),
        (["run", "digits", "--strategy", "dartz"], ["'dartz'", "'darts'"]),
        (["run", "digits", "--space", "dart"], ["'dart'", "darts"]),
        (["run", "digits", "--set", "retain=best"], ["retain"]),
        (["run", "digits", "--seed", "-1"], ["seed"]),
        (["run", "digits", "--batch", "0"], ["batch"]),
        (["run", "digits", "--device", "tpu"], ["'tpu'", "cpu"]),
        (["run", "digits", "--device", "99"], ["'99'", "--device cpu"]),
        (["run", "digits", "--devices", "0"], ["--devices 0"]),
        (["run", "digits", "--recipe", "absent.toml"], ["absent.toml"]),
        (["run", "--resume", "absent"], ["'absent'"]),
        (["run", "--resume", "."], ["is no run directory"]),
        (["search", "digits", "--until", "topology"], ["--until topology", "'operations'"]),
        (["search", "digits", "--candidates", "absent.json"], ["absent.json"]),
        (["train", "DOTS_C11", "digits"], ["DOTS_C11", "DOTS_C10"]),
        (["train"], ["nothing to train"]),
        (["test", ".", "digits"], ["is no run directory"]),
        (["predict", ".", "x.png"], ["'x.png'"]),
        (["report", "absent"], ["absent"]),
        (["recipe", "huge"], ["huge"]),
        (["count", "DOTS_C10", "--skeleton", "moon"], ["moon", "imagenet"]),
        (["count", "DOTS_C10", "--channels", "0"], ["--channels 0"]),
        (["count", "DOTS_C10", "--image-size", "3"], ["3 pixels", "at least 4"]),
        (["count", "mobilnet"], ["'mobilnet'", "mobilenet"]),
        (["count", "mobilenet", "--channels", "8"], ["--channels", "mobilenet has one size"]),
        (["count", "mobilenet", "--layers", "8"], ["--layers", "mobilenet has one size"]),
        (["count", "mnasnet", "--image-size", "4"], ["4 pixels", "mnasnet", "--image-size 8"]),
        (["count", "mobilenet", "--own-skeleton"], ["--own-skeleton", "'mobilenet'"]),
        (
            ["count", "NASNet_A_tf", *OWN_IMAGENET, "--image-size", "2"],
            ["2 pixels", "nasnet", "--image-size 3"],
        ),
        (["count", "absent.json", "--own-skeleton"], ["--own-skeleton", "'absent.json'"]),
        (["count", "ENAS_micro", *OWN_IMAGENET], ["enas", "stem"]),
        (["zoo", "show", "nothing"], ["'nothing'"]),
    ],
)
def test_bad_words(capsys: pytest.CaptureFixture[str], words: list[str], named: list[str]) -> None:
    _refused(capsys, words, *named)


GENOTYPES = {
    "unknown operation": (
        {"normal": [[{"op": "sep_9", "from": 0}]], "normal_concat": [2]},
        "sep_9",
    ),
    "later node": (
        {"normal": [[{"op": "skip_connect", "from": 2}]], "normal_concat": [2]},
        "node 2",
    ),
    "no such node": ({"normal": [[GOOD_EDGE]], "normal_concat": [9]}, "node 9"),
    "version": ({"version": 3, "normal": [[GOOD_EDGE]], "normal_concat": [2]}, "version 3"),
    "no input": ({"normal": [[]], "normal_concat": [2]}, "depends on no input"),
}


@pytest.mark.parametrize("name", GENOTYPES)
@pytest.mark.parametrize("command", ["train", "count"])
def test_bad_genotypes(capsys: pytest.CaptureFixture[str], name: str, command: str) -> None:
    value, named = GENOTYPES[name]
    Path("g.json").write_text(json.dumps({**value, **REDUCE}))
    _refused(capsys, [command, "g.json", *(["digits"] if command == "train" else [])], named)


@pytest.mark.parametrize(
    ("text", "named"), [("{", "not JSON"), ("[" * 100_000, "nested too deeply"), ("3", "genotype")]
)
def test_a_genotype_that_is_none(capsys: pytest.CaptureFixture[str], text: str, named: str) -> None:
    Path("g.json").write_text(text)
    _refused(capsys, ["count", "g.json"], "g.json", named)


def test_bad_folders(capsys: pytest.CaptureFixture[str]) -> None:
    _pictures(Path("one/a"))
    _refused(capsys, ["run", "one"], "one class", "'a'")
    _pictures(Path("empty/a"))
    Path("empty/b").mkdir()
    _refused(capsys, ["run", "empty"], "'empty/b'", "no images")
    _pictures(Path("text/a"))
    _pictures(Path("text/b"))
    Path("text/b/7.png").write_text("no picture")
    _refused(capsys, ["run", "text"], "text/b/7.png")
    Path("file.txt").write_text("x")
    _refused(capsys, ["run", "file.txt"], "file.txt")


def test_images_too_small_for_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "digits", "--image-size", "8", "--set", "train.stem=imagenet"]
    _refused(capsys, words, "8 pixels", "at least")


def test_a_directory_in_use_is_not_touched(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("dear")
    _refused(capsys, ["run", "digits", "--out", "mine"], "'mine' is not empty")
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


def test_unknown_words_are_usage_errors() -> None:
    assert run(["frobnicate"]) == 2
    assert run(["run", "digits", "--frobnicate"]) == 2


def test_debug_shows_the_traceback() -> None:
    from dots.common.errors import UserError

    with pytest.raises(UserError):
        run(["run", "nowhere", "--debug"])
