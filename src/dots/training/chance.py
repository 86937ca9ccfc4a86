"""Has a stage learned anything, or is it where guessing the commonest class would be?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DEVIATIONS = 2.33
"""Above chance at the 1 % level, one-sided."""

LAST = 0.25
"""The share of the epochs, at the end of a stage, that is judged."""


@dataclass(frozen=True)
class Chance:
    """What the best constant prediction reaches on training images: accuracy, mean loss.

    The loss is the least that any constant prediction has. `accuracy` is None where the loss
    weighs the classes: guessing the commonest one is then no measure.
    """

    accuracy: float | None
    loss: float

    def bound(self, images: int) -> float | None:
        """The accuracy on so many images that constant predictions exceed in 1 % of cases."""
        if self.accuracy is None:
            return None
        deviation = math.sqrt(self.accuracy * (1 - self.accuracy) / images)
        return self.accuracy + DEVIATIONS * deviation


def chance(
    labels: Tensor,
    classes: int,
    *,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
    auxiliary: float = 0.0,
) -> Chance:
    """Chance on images with these `labels` [N], for the loss that a stage is trained with.

    `smoothing` is that of the labels, `weights` [classes] those of the loss, `auxiliary` the
    weight of a second classifier's loss. With c_k = w_k·((1 - s)·share_k + s/K) the loss of a
    constant prediction q is -Σ c_k log q_k, which is least at q = c/Σc.
    """
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    scale = torch.ones(classes).double() if weights is None else weights.double().cpu()
    c = scale * ((1 - smoothing) * shares + smoothing / classes)
    loss = float(-torch.special.xlogy(c, c / c.sum()).sum())
    return Chance(float(shares.max()) if weights is None else None, (1 + auxiliary) * loss)


def unlearned(rows: Sequence[Mapping[str, Any]], images: int, by: Chance) -> str:
    """Why the last epochs of a stage are no better than chance, in words; "" where they are.

    `rows` are the stage's metrics, one an epoch of `images` images each.
    """
    last = rows[-math.ceil(LAST * len(rows)) :] if rows else []
    if not last:
        return ""
    accuracy = sum(float(row["accuracy"]) for row in last) / len(last)
    loss = sum(float(row["loss"]) for row in last) / len(last)
    bound = by.bound(images * len(last))
    if bound is not None and accuracy <= bound:
        return f"its training accuracy, {accuracy:.2%}, is that of chance ({by.accuracy:.2%})"
    if loss >= by.loss:
        return f"its training loss, {loss:.3f}, is no lower than by chance ({by.loss:.3f})"
    return ""
