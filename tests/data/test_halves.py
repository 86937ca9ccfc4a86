"""The halves of the search, kept as lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dots.common.errors import UserError
from dots.data import open_data
from dots.data.splits import check_halves, halves_record
from dots.recipe import DataSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("ant", "bee"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(40):
            pixels = np.full((8, 8, 3), number, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number:02d}.png")
    return tmp_path / "photos"


IMAGENET = DataSettings(weight_fraction=0.25, arch_fraction=0.125, test_fraction=0.2)


def test_the_shares_of_each_class_are_listed_by_path(folder: Path) -> None:
    """As for ImageNet: a share of each class for w, another for α, the rest unused."""
    record = halves_record(open_data(folder, IMAGENET, 5, splits_folder=None))
    for name, count in (("weights", 8), ("architecture", 4)):
        for label in ("ant", "bee"):
            assert sum(path.startswith(f"{label}/") for path in record[name]) == count
    assert not set(record["weights"]) & set(record["architecture"])
    again = halves_record(open_data(folder, IMAGENET, 5, splits_folder=None))
    assert again == json.loads(json.dumps(record)) == record
    assert halves_record(open_data(folder, IMAGENET, 6, splits_folder=None)) != record


def test_arrays_are_listed_by_row() -> None:
    data = open_data("digits", DataSettings(), 0, splits_folder=None)
    record = halves_record(data)
    assert record["weights"] == data.half_a.tolist()
    assert all(isinstance(row, int) for row in record["architecture"])


def test_other_halves_are_refused(folder: Path) -> None:
    data = open_data(folder, IMAGENET, 5, splits_folder=None)
    record = halves_record(data)
    check_halves(record, data, "'halves.json'")
    record["weights"] = record["weights"][1:]
    with pytest.raises(UserError, match=r"'halves.json': 1 images of 'weights' differ"):
        check_halves(record, data, "'halves.json'")
    for damaged in (None, 3, [], {}):
        with pytest.raises(UserError, match="differ"):
            check_halves(damaged, data, "x")
    assert isinstance(data.half_a, torch.Tensor)
