"""dots train of reference networks, and of cells in the skeleton they were published in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import dots
from dots.cli.app import run
from dots.networks.reference import ReferenceNetwork, reference_cost
from dots.networks.skeletons import OwnNetwork

QUICKEST = [
    "--preset", "tiny", "--quiet", "--device", "cpu", "--set", "data.limit=60",
    "--set", "train.epochs=1", "--set", "train.cells=2", "--set", "train.channels=4",
]  # fmt: skip


def test_a_reference_network_is_trained_tested_and_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mobile"
    assert run(["train", "MobileNet", "digits", "--out", str(out), *QUICKEST]) == 0
    assert capsys.readouterr().out.startswith("mobilenet          test accuracy")
    result = json.loads((out / "result.json").read_text())
    assert result["reference"] == "mobilenet"
    assert result["parameters"] == reference_cost("mobilenet", 10, 1, 8).parameters
    assert not (out / "genotype.json").exists()
    assert (out / "report.html").is_file()
    network = dots.load(out)
    assert isinstance(network.network, ReferenceNetwork)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert run(["test", str(out), "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_loss"] == pytest.approx(result["test_loss"])


def test_the_plain_network_learns_digits_and_is_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the recipe of `tiny`, in seconds: ten classes, two of three images right at least."""
    out = tmp_path / "plain"
    words = ["train", "plain", "digits", "--preset", "tiny", "--quiet", "--device", "cpu"]
    assert run([*words, "--set", "train.epochs=6", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["test_accuracy"] > 2 / 3
    assert result["parameters"] == reference_cost("plain", 10, 1, 8).parameters
    capsys.readouterr()
    assert run(["export", str(out), "--to", "safetensors"]) == 0
    assert "same top-1" in capsys.readouterr().out


def test_a_reference_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = ["train", "mobilenet", "digits", *QUICKEST]
    assert run([*words, "--out", str(whole)]) == 0
    assert run([*words, "--out", str(parts)]) == 0
    for name in ("test.json", "result.json", "weights.safetensors", "network.json"):
        (parts / name).unlink()
    newest = max((parts / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    newest.unlink()  # the training has to be done again
    assert run(["train", "--resume", str(parts), "--quiet", "--device", "cpu"]) == 0
    first, second = ((p / "weights.safetensors").read_bytes() for p in (whole, parts))
    assert first == second


def test_a_cell_is_trained_in_its_own_skeleton(tmp_path: Path) -> None:
    out = tmp_path / "nasnet"
    words = ["train", "NASNet_A_tf", "digits", "--own-skeleton", "--out", str(out), *QUICKEST]
    assert run(words) == 0
    network = dots.load(out)
    assert isinstance(network.network, OwnNetwork)
    result = json.loads((out / "result.json").read_text())
    assert result["skeleton"] == "nasnet"
    own = sum(p.numel() for p in network.network.parameters())
    assert own == result["parameters"]
    assert (out / "genotype.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mobilenet", "digits", "--own-skeleton"], "'mobilenet' is no cell of the zoo"),
        (["mobilenett", "digits"], "neither a genotype file nor a published cell"),
        (["enas_micro", "digits", "--own-skeleton", "--image-size", "64",
          "--set", "train.stem=imagenet"], "the enas skeleton has no published stem"),
        (["densenet_bc", "digits", "--image-size", "7"], "too small for densenet_bc"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_told_before_a_run_begins(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *words, "--out", str(tmp_path / "run"), *QUICKEST]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
