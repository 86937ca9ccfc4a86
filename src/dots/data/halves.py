"""The halves of the search as lists: which images w and α learn from, for anyone to see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dots.data.images import ImageData, ImageSet
from dots.errors import UserError

HALVES_FILE = "halves.json"


def halves_record(data: ImageData) -> dict[str, Any]:
    """The content of halves.json.

    {"weights": half A, "architecture": half B}, each a list of images: paths below the common
    folder of all training images, or rows of the training part where images are no files.
    """
    root = _root(data.train)
    return {
        "weights": _named(data.train, data.half_a, root),
        "architecture": _named(data.train, data.half_b, root),
    }


def check_halves(kept: Any, data: ImageData, where: str) -> None:
    """Raise UserError where the halves are not those that were kept in the file `where`."""
    now = halves_record(data)
    for name, images in now.items():
        before = kept.get(name) if isinstance(kept, dict) else None
        if before != images:
            count = len(set(map(str, images)) ^ set(map(str, before or [])))
            raise UserError(
                f"the halves of the search are not those in {where}: {count} images of "
                f"'{name}' differ: the data or the version of dots have changed"
            )


def _root(images: ImageSet) -> str | None:
    paths = [path for row in range(len(images)) if (path := images.path(row)) is not None]
    return os.path.commonpath(paths) if len(paths) == len(images) and paths else None


def _named(images: ImageSet, rows: Tensor, root: str | None) -> Sequence[str | int]:
    if root is None:
        return [int(row) for row in rows]
    named = []
    for row in rows.tolist():
        path = images.path(row)
        assert path is not None
        named.append(os.path.relpath(path, root).replace(os.sep, "/"))
    return named
