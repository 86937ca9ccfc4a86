"""Test images steer nothing: other test labels change the test and nothing before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import dots
from dots.recipe import build_recipe

TIMES = ("seconds", "cpu_seconds")


def _write(path: Path, *, permuted: bool) -> Path:
    digits = load_digits()
    images = (digits.images / 16 * 255).astype(np.uint8)[..., None]
    labels = digits.target
    test = labels[300:400]
    if permuted:
        test = np.random.default_rng(0).permutation(test)
    np.savez(path, x_train=images[:300], y_train=labels[:300], x_test=images[300:400], y_test=test)
    return path


def _rows(path: Path) -> list[dict[str, Any]]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def test_permuted_test_labels_change_the_test_alone(tmp_path: Path) -> None:
    recipe = build_recipe(
        "tiny", overrides=["nodes=2", "operations.cells=2", "topology.cells=2", "train.cells=2"]
    )
    outcomes = []
    for permuted in (False, True):
        place = tmp_path / str(permuted)
        place.mkdir()
        data = _write(place / "digits.npz", permuted=permuted)
        outcomes.append(dots.run(data, recipe, out=place / "run"))
    one, other = outcomes
    assert one.genotype == other.genotype
    assert _rows(one.path) == _rows(other.path)
    for name in ("weights.safetensors", "candidates.json", "architecture.jsonl", "network.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert one.result["test_loss"] != other.result["test_loss"]
