"""Weighted sums of batch-normalised 1×1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional


class Term(NamedTuple):
    """One summand of a node: weight · norm(conv1x1(features, pointwise)).

    features: [B, Cin, H, W]; weight: 0-d; pointwise: [Cout, Cin, 1, 1] or None (identity);
    norm: a batch-norm module over the Cout channels or None (identity).
    """

    features: Tensor
    weight: Tensor
    pointwise: Tensor | None
    norm: nn.BatchNorm2d | None


def combine(terms: Sequence[Term], fast: bool) -> Tensor:
    """The sum of the terms, [B, Cout, H, W]. There must be at least one."""
    total: Tensor | None = None
    for term in terms:
        value = term.features
        if term.pointwise is not None:
            value = functional.conv2d(value, term.pointwise)
        if term.norm is not None:
            value = term.norm(value)
        value = term.weight * value
        total = value if total is None else total + value
    if total is None:
        raise ValueError("combine needs at least one term")
    return total


def normed_pointwise(
    x: Tensor, pointwise: Tensor, norm: nn.BatchNorm2d, *, relu: bool, fast: bool
) -> Tensor:
    """norm(conv1x1(x, pointwise)), then ReLU where `relu`. x: [B, Cin, H, W] -> [B, Cout, H, W]."""
    value = norm(functional.conv2d(x, pointwise))
    return functional.relu(value) if relu else value
