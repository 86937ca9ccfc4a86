"""Run directories that commit 5c6078a wrote (tests/fixtures) are reported, used and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import dots
from dots.cli.app import run
from dots.space.genotype import Genotype
from helpers.run_equality import differing

OLD = Path(__file__).parents[1] / "fixtures" / "runs-5c6078a"


def _copy(name: str, folder: Path) -> Path:
    return shutil.copytree(OLD / name, folder)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_run_is_reported(tmp_path: Path) -> None:
    path = _copy("finished", tmp_path / "run")
    assert run(["report", str(path)]) == 0
    page = (path / "report.html").read_text()
    result = json.loads((path / "result.json").read_text())
    assert f"{100 * result['test_accuracy']:.2f}" in page


def test_a_finished_network_is_loaded_and_used() -> None:
    model = dots.load(OLD / "finished")
    weights = load_file(OLD / "finished" / "weights.safetensors")
    state = model.network.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], value) for name, value in weights.items())
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    path = _copy("finished", tmp_path / "run")
    assert run(["run", "--resume", str(path), "--quiet"]) == 0
    for name in ("genotype.json", "test.json", "test-random.json", "metrics.jsonl", "recipe.json"):
        assert json_lines(path / name) == json_lines(OLD / "finished" / name)


def json_lines(path: Path) -> list[Any]:
    """The values of a JSON file, or of each line of a file of them."""
    text = path.read_text()
    return [json.loads(line) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two copies of the interrupted run, each resumed to its end."""
    folder = tmp_path_factory.mktemp("old")
    paths = [_copy("interrupted", folder / name) for name in "ab"]
    for path in paths:
        assert run(["run", "--resume", str(path), "--quiet", "--device", "cpu"]) == 0
    return paths


def test_an_interrupted_run_goes_on_where_it_was(resumed: list[Path]) -> None:
    path = resumed[0]
    epochs = [(row["stage"], row["epoch"]) for row in _rows(path)]
    assert epochs == [
        ("operations", 0), ("topology", 0), ("topology", 1), ("train", 0), ("train-random", 0),
    ]  # fmt: skip
    assert _rows(path)[:2] == _rows(OLD / "interrupted")[:2]
    for name in ("candidates.json", "genotype-darts-policy.json", "splits.json"):
        assert (path / name).read_bytes() == (OLD / "interrupted" / name).read_bytes()
    assert Genotype.load(path / "genotype.json").space == "s3"
    assert json.loads((path / "result.json").read_text())["test_images"] == 359


def test_resuming_gives_the_same_bits_each_time(resumed: list[Path]) -> None:
    assert differing(*resumed) == []
