"""A run's network goes on on other data: its weights, with a new classifier."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dots.cli.app import run
from dots.common.errors import UserError
from dots.networks.saved import load_model
from dots.runs.further_training import INITIAL, start_from
from helpers import exported_run

QUICKEST = ["--preset", "tiny", "--quiet", "--device", "cpu", "--set", "train.epochs=1"]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten classes."""
    return exported_run.make_run(tmp_path_factory.mktemp("old") / "run")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two classes that no network has seen."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (folder / name).mkdir()
        for number in range(12):
            pixels = draw.integers(level - 50, level + 50, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(old: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run"
    words = ["train", str(old), str(data), "--from-weights", "--out", str(out), *QUICKEST]
    assert run([*words, "--set", "train.lr=1e-9", "--set", "train.lr_min=0"]) == 0
    return out


def test_the_network_keeps_its_weights_and_has_a_new_classifier(old: Path, tuned: Path) -> None:
    """At a learning rate of almost nothing all weights are those of before."""
    before, after = load_model(old).network.state_dict(), load_model(tuned).network.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        if "classifier" in name:
            assert len(tensor) == 2
        elif not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.allclose(tensor, before[name], atol=1e-6), name


def test_the_run_says_where_it_came_from_and_needs_it_no_more(old: Path, tuned: Path) -> None:
    job = json.loads((tuned / "job.json").read_text())
    assert job["weights"] == str(old.resolve())
    weights = load_file(tuned / INITIAL)
    assert weights
    assert not any("classifier" in name for name in weights)


def test_the_size_is_that_of_the_network(old: Path, tuned: Path) -> None:
    train = json.loads((tuned / "recipe.json").read_text())["train"]
    assert (train["cells"], train["channels"], train["stem"]) == (3, 4, "cifar")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["DARTS_V2", "{data}"], "no run 'DARTS_V2'"),
        (["{old}", "digits"], "the image channels of the network"),
        (["{old}", "{data}", "--set", "train.cells=4"], "the cells of the network"),
        (["{old}", "{data}", "--own-skeleton"], "name the run alone"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_made(
    old: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], error: str,
) -> None:  # fmt: skip
    filled = [word.format(old=old, data=data) for word in words]
    out = tmp_path / "out"
    assert run(["train", *filled, "--from-weights", "--out", str(out), *QUICKEST]) == 2
    assert error in capsys.readouterr().err
    assert not out.exists()


def test_weights_of_another_network_are_refused(tuned: Path, tmp_path: Path) -> None:
    other = exported_run.network(cells=4)
    with pytest.raises(UserError, match="another network"):
        start_from(other, tuned / INITIAL)
    (tmp_path / "bad").write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged"):
        start_from(other, tmp_path / "bad")
