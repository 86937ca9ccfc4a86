"""Folders of small pictures, made for a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[[Mapping[str, int]], Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Make `images/` with so many pictures in each given folder; returns its path.

    Every picture of a class folder is filled with one grey level that belongs to its path, so
    a test can tell from the pixels which file was read.
    """

    def make(counts: Mapping[str, int]) -> Path:
        root = tmp_path / "images"
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                path = root / folder / f"{number:03}.png"
                picture(sum(f"{folder}/{number}".encode()) % 256).save(path)
        return root

    return make


def picture(level: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    """A picture of one grey level with a red corner (so that it is no grayscale image)."""
    pixels = np.full((*size[::-1], 3), level, dtype=np.uint8)
    pixels[0, 0] = (255, 0, 0)
    return Image.fromarray(pixels)
