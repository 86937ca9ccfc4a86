"""Any map-style `torch.utils.data.Dataset`, given from Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dots.common.errors import UserError
from dots.data.decode import BROKEN, ImageError
from dots.data.sources.arrays import channels_last
from dots.data.sources.records import Raw, Record
from dots.data.sources.source import Part, Source, make_source, unique_names


def read_dataset(train: Dataset[Any], test: Dataset[Any] | None = None) -> Source:
    """Make a source of one dataset, or of a training and a test dataset.

    An item is (image, label): a PIL image, or an array or tensor, [H, W], [H, W, C] or
    [C, H, W], uint8 or floating-point. Labels come from `targets` or `labels` where the
    dataset has such a sequence, else every item is read once. `classes`, if there, names the
    classes; else their numbers do.

    Raises UserError for an iterable dataset, an empty one, and items of another kind.
    """
    parts = {"train": dataset_part(train, "the training dataset")}
    if test is not None:
        parts["test"] = dataset_part(test, "the test dataset")
    name = type(train).__name__.lower()
    return make_source(name, parts, flip=True)


def dataset_part(dataset: Dataset[Any], where: str) -> Part:
    """One part of a dataset as in read_dataset; `where` names it in errors."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise UserError(f"{where} cannot be indexed: give a map-style dataset with a length")
    records = DatasetRecords(dataset, where)
    labels = torch.tensor(_labels(dataset, len(records), where), dtype=torch.int64)
    if labels.ndim != 1 or len(labels) != len(records):
        raise UserError(f"{where}: expected one label for each of the {len(records)} items")
    largest = int(labels.max()) if len(labels) else -1
    given = getattr(dataset, "classes", getattr(dataset, "categories", None))
    if isinstance(given, Sequence) and len(given) > largest:
        return Part(records, labels, unique_names([_name(value) for value in given]))
    values, index = np.unique(labels.clamp(min=-1).numpy(), return_inverse=True)
    if len(values) and values[0] < 0:  # no label
        values, index = values[1:], index - 1
    return Part(records, torch.from_numpy(index), tuple(str(value) for value in values))


def _name(value: object) -> str:
    """A class name; torchvision's ImageNet has tuples of synonyms."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _labels(dataset: Any, count: int, where: str) -> list[int]:
    for name in ("targets", "labels", "_labels", "y"):
        values = getattr(dataset, name, None)
        if isinstance(values, list | tuple | np.ndarray | Tensor) and len(values) == count:
            break
    else:
        pairs = getattr(dataset, "_samples", None)  # as torchvision's file lists
        if not isinstance(pairs, list) or len(pairs) != count:
            pairs = [_item(dataset, row, where) for row in range(count)]
        values = [label for _, label in pairs]
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError):
        raise UserError(f"{where}: labels must be integers") from None


def _item(dataset: Any, row: int, where: str) -> tuple[Any, Any]:
    item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UserError(f"{where}: item {row} is no pair (image, label)")
    return item[0], item[1]


class DatasetRecords:
    """The images of a dataset, which opens and may transform them as it does."""

    def __init__(self, dataset: Dataset[Any], name: str) -> None:
        self.dataset: Any = dataset
        self.name = name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Record:
        where = f"in item {row} of {self.name}"
        return Record(partial(self._open, row, where), where, row)

    def _open(self, row: int, where: str) -> Raw:
        """The picture or the pixels that the dataset gives."""
        image, _ = _item(self.dataset, row, self.name)
        if isinstance(image, Image.Image):
            try:
                image.load()  # we close ours, but this one's file is the dataset's
            except BROKEN as error:
                raise ImageError(where, str(error)) from None
            return image
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(image)
        if not isinstance(image, Tensor) or image.ndim not in (2, 3):
            raise ImageError(where, f"it is neither picture nor pixels: {type(image)}")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise ImageError(where, f"its pixels are of type {image.dtype}")
        image = image if image.dtype == torch.uint8 else image.float()
        return channels_last(image[None])[0]
