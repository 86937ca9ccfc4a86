"""Is the exported network the same? Probabilities on real images decide. And is it fast?"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.export.target import Logits

TOLERANCE = 1e-4
"""The largest difference of a probability."""


@dataclass(frozen=True)
class Comparison:
    """How many images were compared, and the largest difference of a probability."""

    images: int
    largest: float
    lost: ClassVar[None] = None

    def __str__(self) -> str:
        """As the command line says it."""
        return f"same top-1 on {self.images} images, largest difference {self.largest:.1e}"


@dataclass(frozen=True)
class Loss:
    """What a network of less precision lost, over `images` images.

    `moved` of them have another most probable class; `largest` is the largest difference of a
    probability. `accuracies` are those of the network and of the export, or None where the
    images have no labels.
    """

    images: int
    moved: int
    largest: float
    accuracies: tuple[float, float] | None

    @property
    def lost(self) -> float | None:
        """The accuracy of the network less that of the export."""
        return None if self.accuracies is None else self.accuracies[0] - self.accuracies[1]

    def __str__(self) -> str:
        """As the command line says it."""
        text = (
            f"another class on {self.moved} of {self.images} images, largest difference "
            f"{self.largest:.1e}"
        )
        if self.accuracies is None:
            return text
        before, after = self.accuracies
        return (
            f"{text}; accuracy on test images {100 * after:.2f} %, the network's "
            f"{100 * before:.2f} %: {100 * (before - after):.2f} points lost"
        )


def loss(expected: Tensor, found: Tensor, labels: Tensor | None = None) -> Loss:
    """What probabilities [N, classes] have lost; `labels` [N]. Raises UserError for NaN."""
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        raise UserError("the exported network overflows: its probabilities are no numbers")
    before, after = expected.argmax(1), found.argmax(1)
    largest = float((expected - found).abs().max())
    accuracies = None
    if labels is not None:
        accuracies = _share(before == labels), _share(after == labels)
    return Loss(len(expected), int((before != after).sum()), largest, accuracies)


def _share(right: Tensor) -> float:
    return float(right.double().mean())


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


WARM_UP = 5
REPEATS = 30


def milliseconds(network: Logits, image: Tensor) -> float:
    """The median time of a call on images [B, C, H, W], on the CPU, with this process's threads."""
    seconds = []
    with torch.no_grad():
        for _ in range(WARM_UP + REPEATS):
            start = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])
