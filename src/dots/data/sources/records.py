"""The images of a source before they are decoded: random access by row number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from dots.data.decode import open_image

Raw = Image.Image | Tensor
"""An opened picture, or pixels [H, W, C] (uint8 over the full range, or float32)."""


class Record(NamedTuple):
    """One image.

    `open()` is the image, not yet decoded: a picture of which only the header was read, or
    pixels; it raises ImageError. `where` is what an error message calls it: one line, whatever
    the name holds. `key` names it in a saved split: its path inside the source, or its row.
    `path` is that of its file, if it has one of its own.
    """

    open: Callable[[], Raw]
    where: str
    key: str | int
    path: str | None = None


class Records(Protocol):
    """A sequence of images (opened from one thread at a time)."""

    def __len__(self) -> int:
        """How many images there are."""

    def __getitem__(self, row: int) -> Record:
        """The image in that row."""


@dataclass(frozen=True)
class FileRecords:
    """Image files, named by POSIX paths relative to `root`."""

    root: Path
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Record:
        path = str(self.root / self.files[row])
        return Record(partial(open_image, path, repr(path)), repr(path), self.files[row], path)


@dataclass(frozen=True)
class TensorRecords:
    """Pixels in memory: `pixels` [N, H, W, C], uint8 or float32; `name` for messages."""

    pixels: Tensor
    name: str

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> Record:
        return Record(lambda: self.pixels[row], f"{row} of {self.name}", row)


class JoinedRecords(ConcatDataset[Record]):
    """Several records, one after the other; images without a name have their row among all."""

    def __getitem__(self, row: int) -> Record:
        record: Record = super().__getitem__(row)  # type: ignore[no-untyped-call]
        return record if isinstance(record.key, str) else record._replace(key=row)


def as_tensor(records: object) -> Tensor | None:
    """All pixels [N, H, W, C] where they are in memory already, else None."""
    if isinstance(records, TensorRecords):
        return records.pixels
    if isinstance(records, Subset):
        inner = as_tensor(records.dataset)
        return None if inner is None else inner[torch.tensor(records.indices)]
    if isinstance(records, JoinedRecords):
        tensors = [tensor for part in records.datasets if (tensor := as_tensor(part)) is not None]
        alike = len({(tensor.dtype, tensor.shape[1:]) for tensor in tensors}) == 1
        return torch.cat(tensors) if alike and len(tensors) == len(records.datasets) else None
    return None
