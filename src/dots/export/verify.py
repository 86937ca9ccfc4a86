"""Is the exported network the same? Probabilities on real images decide."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dots.common.errors import UserError

TOLERANCE = 1e-4
"""The largest difference of a probability."""


@dataclass(frozen=True)
class Comparison:
    """How many images were compared, and the largest difference of a probability."""

    images: int
    largest: float

    def __str__(self) -> str:
        """As the command line says it."""
        return f"same top-1 on {self.images} images, largest difference {self.largest:.1e}"


def compare(expected: Tensor, found: Tensor) -> Comparison:
    """Compare probabilities [N, classes]. Raises UserError where they are not the same.

    The same means: the most probable class of every image, and every probability within
    TOLERANCE.
    """
    if expected.shape != found.shape:
        raise UserError(
            f"the exported network gives {list(found.shape)} numbers, not {list(expected.shape)}"
        )
    found = found.to(expected)
    difference = (expected - found).abs()
    largest = float(torch.nan_to_num(difference, nan=torch.inf, posinf=torch.inf).max())
    moved = int((expected.argmax(1) != found.argmax(1)).sum())
    if moved or largest > TOLERANCE:
        raise UserError(
            f"the exported network differs: another class on {moved} of {len(expected)} images, "
            f"largest difference {largest:.1e} (at most {TOLERANCE:g}); nothing was written"
        )
    return Comparison(len(expected), largest)
