"""The images of a source before they are decoded: random access by row number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from dots.data.decode import open_image

Raw = Image.Image | Tensor
"""An opened picture, or pixels [H, W, C] (uint8 over the full range, or float32)."""


class Records(Protocol):
    """A sequence of images, opened one by one (from one thread at a time)."""

    def __len__(self) -> int:
        """How many images there are."""

    def open(self, row: int) -> Raw:
        """The image in that row, not yet decoded. Raises ImageError."""

    def where(self, row: int) -> str:
        """What an error message calls the image: one line, whatever the name holds."""

    def path(self, row: int) -> str | None:
        """The path of its file, if it has one of its own."""

    def key(self, row: int) -> str | int:
        """What names the image in a saved split: its path inside the source, or its row."""


@dataclass(frozen=True)
class FileRecords:
    """Image files, named by POSIX paths relative to `root`."""

    root: Path
    files: tuple[str, ...]

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.files)

    def open(self, row: int) -> Raw:
        """The picture, of which only the header was read."""
        return open_image(self.root / self.files[row], self.where(row))

    def where(self, row: int) -> str:
        """The path, quoted."""
        return repr(str(self.root / self.files[row]))

    def path(self, row: int) -> str | None:
        """The path."""
        return str(self.root / self.files[row])

    def key(self, row: int) -> str | int:
        """The path inside the data set."""
        return self.files[row]


@dataclass(frozen=True)
class TensorRecords:
    """Pixels in memory: `pixels` [N, H, W, C], uint8 or float32; `name` for messages."""

    pixels: Tensor
    name: str

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.pixels)

    def open(self, row: int) -> Raw:
        """The pixels [H, W, C]."""
        return self.pixels[row]

    def where(self, row: int) -> str:
        """The row in the named array."""
        return f"{row} of {self.name}"

    def path(self, row: int) -> str | None:
        """None: no image has a file of its own."""
        return None

    def key(self, row: int) -> str | int:
        """The row."""
        return row


@dataclass(frozen=True)
class SelectedRecords:
    """Some rows of other records, in the given order."""

    records: Records
    rows: Tensor

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.rows)

    def open(self, row: int) -> Raw:
        """The image in the row that was selected."""
        return self.records.open(int(self.rows[row]))

    def where(self, row: int) -> str:
        """As the other records say."""
        return self.records.where(int(self.rows[row]))

    def path(self, row: int) -> str | None:
        """As the other records say."""
        return self.records.path(int(self.rows[row]))

    def key(self, row: int) -> str | int:
        """As the other records say."""
        return self.records.key(int(self.rows[row]))


class JoinedRecords:
    """Several records, one after the other."""

    def __init__(self, parts: Sequence[Records]) -> None:
        self.parts = tuple(parts)
        self.starts = (0, *accumulate(len(part) for part in self.parts))

    def __len__(self) -> int:
        """How many images there are in all."""
        return self.starts[-1]

    def _find(self, row: int) -> tuple[Records, int]:
        part = bisect_right(self.starts, row) - 1
        return self.parts[part], row - self.starts[part]

    def open(self, row: int) -> Raw:
        """The image in the part that holds the row."""
        part, inner = self._find(row)
        return part.open(inner)

    def where(self, row: int) -> str:
        """As the part says that holds the row."""
        part, inner = self._find(row)
        return part.where(inner)

    def path(self, row: int) -> str | None:
        """As the part says that holds the row."""
        part, inner = self._find(row)
        return part.path(inner)

    def key(self, row: int) -> str | int:
        """The row among all."""
        part, inner = self._find(row)
        key = part.key(inner)
        return key if isinstance(key, str) else row


def as_tensor(records: Records) -> Tensor | None:
    """All pixels [N, H, W, C] where they are in memory already, else None."""
    if isinstance(records, TensorRecords):
        return records.pixels
    if isinstance(records, SelectedRecords):
        inner = as_tensor(records.records)
        return None if inner is None else inner[records.rows]
    if isinstance(records, JoinedRecords):
        tensors = [tensor for part in records.parts if (tensor := as_tensor(part)) is not None]
        alike = len({(tensor.dtype, tensor.shape[1:]) for tensor in tensors}) == 1
        return torch.cat(tensors) if alike and len(tensors) == len(records.parts) else None
    return None
