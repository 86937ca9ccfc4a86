from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from dots.common.errors import UserError
from dots.data.decode import Geometry, ImageError
from dots.data.load import load_all
from dots.data.sources.dataset import read_dataset
from dots.data.survey import survey


class Listed(Dataset[Any]):
    """A dataset of given items; counts how often an item was asked for."""

    def __init__(self, items: list[Any], **attributes: Any) -> None:
        self.items = items
        self.asked = 0
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        return self.items[index]


def test_pictures_with_targets_and_classes() -> None:
    items = [(Image.new("RGB", (4, 4)), label) for label in (1, 0, 1)]
    train = Listed(items, targets=[1, 0, 1], classes=["cat", ("dog", "hound")])
    source = read_dataset(train, Listed(items[:1], classes=["cat", ("dog", "hound")]))
    assert source.name == "listed"
    assert source.classes == ("cat", "dog, hound")
    assert source.train.labels.tolist() == [1, 0, 1]
    assert train.asked == 0, "the targets were enough"
    assert source.test is not None
    assert source.test.labels.tolist() == [1]


def test_labels_without_attributes_are_read_from_the_items() -> None:
    dataset = Subset(Listed([(torch.zeros(3, 5, 6), label) for label in (5, 2, 9)]), [2, 0, 0])
    source = read_dataset(dataset)
    assert source.classes == ("5", "9")
    assert source.train.labels.tolist() == [1, 0, 0]


def test_tensors_and_arrays_become_channels_last() -> None:
    tensors = TensorDataset(torch.rand(4, 3, 6, 5, dtype=torch.float64), torch.arange(4))
    opened = read_dataset(tensors).train.records[1].open()
    assert isinstance(opened, torch.Tensor)
    assert opened.shape == (6, 5, 3)
    assert opened.dtype == torch.float32
    assert torch.equal(opened, tensors[1][0].permute(1, 2, 0).float())
    arrays = Listed([(np.zeros((6, 5), dtype=np.uint8), label) for label in range(2)])
    opened = read_dataset(arrays).train.records[0].open()
    assert isinstance(opened, torch.Tensor)
    assert (opened.shape, opened.dtype) == ((6, 5, 1), torch.uint8)


def test_opened_files_can_be_read_again_and_again(tmp_path: Path) -> None:
    for form in ("PNG", "JPEG", "GIF"):
        Image.new("RGB", (40, 40), (200, 0, 0)).save(tmp_path / form, form)
    items = [
        (Image.open(tmp_path / form), label) for label, form in enumerate(("PNG", "JPEG", "GIF"))
    ]
    records = read_dataset(Listed(items)).train.records
    assert survey(records).channels == 3
    for _ in range(2):
        pixels, rows, _ = load_all(records, Geometry(8, 3))
        assert rows.tolist() == [0, 1, 2]
        assert (pixels[..., 0] > 190).all()
    for image, _ in items:
        image.close()


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:45])
    with Image.open(tmp_path / "x.png") as image:
        records = read_dataset(Listed([(image, 0), (image, 1)])).train.records
        with pytest.raises(ImageError, match="cannot read the image in item 1 of the training"):
            records[1].open()


def test_what_is_wrong_is_said() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    with pytest.raises(UserError, match="the training dataset cannot be indexed"):
        read_dataset(Stream())
    with pytest.raises(UserError, match=r"item 0 is no pair \(image, label\)"):
        read_dataset(Listed([1, 2]))
    with pytest.raises(UserError, match="labels must be integers"):
        read_dataset(Listed([(None, "cat")]))
    with pytest.raises(UserError, match="there are no training images"):
        read_dataset(Listed([]))
    records = read_dataset(Listed([("text", 0), (torch.zeros(2, 2).int(), 1)])).train.records
    with pytest.raises(ImageError, match="in item 0 of the training dataset: it is neither"):
        records[0].open()
    with pytest.raises(ImageError, match=r"its pixels are of type torch\.int32"):
        records[1].open()
