"""A node as one sum of matrix products: batch norms of 1×1 convolutions without their outputs.

A candidate operation ends in weight · norm(P z): a 1×1 convolution P of some features z, batch
norm, and the operation's mixing weight. Over a batch, the mean and the variance of P z are linear
algebra of the moments of z, which are a small vector and a small matrix:

    mean(P z) = P mean(z),    var(P z) = diag(P cov(z) Pᵀ).

With them the batch norm is an affine map of z, and so is its product with the mixing weight. A
node, the sum over its incoming edges and their operations (Eqs. 1 and 3), therefore is

    x_j = bias + Σ_t M_t z_t,    M_t = weight_t · scale_t / std_t · P_t,

one matrix product per operation, accumulated into one buffer. Outputs of 1×1 convolutions, batch
norms and products are never formed, neither forward nor backward; the gradients of mixing
weights, of P, and of a norm's scale and shift come from matrices of the size of P by automatic
differentiation. Values are the stock modules' up to rounding, running statistics included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks.kernels.batch_statistics import (
    fixed_statistics,
    scales_and_shifts,
    takes_batch,
    update_running,
)
from dots.networks.kernels.joined import joinable, joined
from dots.networks.kernels.normed_sum import Measured, Moments, add_normed
from dots.networks.kernels.products import as_map, as_rows
from dots.networks.kernels.weighted_sum import add_weighted

NARROW, WIDEST = 16, 64
"""Channels up to which folding is faster: always, and for large maps. It trades passes over memory,
whose cost grows with the channels, for products, whose cost grows with their square."""
LARGE = 2**20
"""Numbers of a map from which on a pass over it is a pass over main memory."""


class Term(NamedTuple):
    """One summand of a node: weight · norm(conv1x1(features, pointwise)).

    features: [B, Cin, H, W]; weight: 0-d, or [B, 1, 1, 1] (which gets no gradient), or None
    (one); pointwise: [Cout, Cin, 1, 1] or None (identity); norm: a batch norm over the Cout
    channels or None (identity); moments: those of the features where they are known.
    """

    features: Tensor
    weight: Tensor | None
    pointwise: Tensor | None
    norm: nn.BatchNorm2d | None
    moments: Moments | None = None


def combine(terms: Sequence[Term], fast: bool) -> Tensor:
    """The sum of the terms, [B, Cout, H, W], channels-last where it was computed fast.

    With `fast` false, or where folding does not apply (other devices and data types, autocast,
    synchronised or otherwise special norms), the stock modules run one by one. Raises
    ValueError where there is no term and, as the stock modules do, where a norm in training
    mode sees a single value per channel.
    """
    if not terms:
        raise ValueError("combine needs at least one term")
    if fast and all(foldable(term.features, term.norm) for term in terms):
        return as_map(_folded_sum(terms), terms[0].features)
    values = [_plain(term) for term in terms]
    return sum(values[1:], values[0])


def normed_pointwise(
    x: Tensor, pointwise: Tensor, norm: nn.BatchNorm2d, *, relu: bool, fast: bool
) -> Tensor:
    """norm(conv1x1(x, pointwise)), then ReLU where `relu`: [B, Cin, H, W] -> [B, Cout, H, W]."""
    term = Term(x, None, pointwise, norm)
    if not fast or not foldable(x, norm):
        value = _plain(term)
        return F.relu(value) if relu else value
    rows = _folded_sum([term])
    return as_map(F.relu_(rows) if relu else rows, x)


def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """norm(x) of a foldable map [B, C, H, W]."""
    return as_map(_folded_sum([Term(x, None, None, norm)]), x)


def pointwise_sum(parts: Sequence[Tensor], pointwise: Tensor) -> Measured:
    """conv1x1 of maps side by side, which are not concatenated: [B, Cout, H, W].

    parts: maps [B, C_i, H, W]; pointwise: [Cout, Σ C_i, 1, 1].
    """
    if joinable(parts, pointwise):
        return joined(parts, pointwise)
    if not all(foldable(part, None) for part in parts):
        return Measured(convolve_pixels(torch.cat(list(parts), dim=1), pointwise), None)
    kernels = torch.split(pointwise.flatten(1), [part.shape[1] for part in parts], dim=1)
    maps = [as_rows(part) for part in parts]
    total = add_weighted(None, None, list(zip(maps, kernels, strict=True)), [])
    return Measured(as_map(total, parts[0]), None)


def convolve_pixels(x: Tensor, pointwise: Tensor) -> Tensor:
    """A 1×1 convolution, [B, Cin, H, W] -> [B, Cout, H, W].

    On a GPU channels-last maps are multiplied as one matrix: cuDNN does the same, but plans for
    some ten milliseconds before the first of each shape.
    """
    if x.device.type != "cuda" or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, pointwise)
    return as_map(as_rows(x) @ pointwise.flatten(1).T, x)


def _plain(term: Term) -> Tensor:
    """The term with the stock modules."""
    value = term.features
    if term.pointwise is not None:
        value = convolve_pixels(value, term.pointwise)
    if term.norm is not None:
        value = term.norm(value)
    return value if term.weight is None else term.weight * value


def foldable(x: Tensor, norm: nn.BatchNorm2d | None) -> bool:
    """Whether a term of these features and norm can be folded."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and x.shape[0] * x.shape[2] * x.shape[3] > 1
        and (norm is None or type(norm) is nn.BatchNorm2d)
    )


class Normalised(NamedTuple):
    """A map [B, C, H, W] of zero mean and unit variance, and what they were, [1, C] each."""

    features: Tensor
    mean: Tensor
    variance: Tensor

    def update(self, norm: nn.BatchNorm2d) -> None:
        """Let `norm` keep running statistics as if it had normalised the map."""
        count = self.features.numel() // self.features.shape[1]
        update_running([norm], self.mean, self.variance, count)


def normalised(x: Tensor, eps: float) -> Normalised:
    """Normalise a foldable map once, for all who would do so with norms without parameters."""
    total, mean, variance = add_normed(None, [as_rows(x)], None, None, None, eps)
    return Normalised(as_map(total, x), mean, variance)


def _folded_sum(terms: Sequence[Term]) -> Tensor:
    """The sum of the terms: rows as of `as_rows`."""
    total: Tensor | None = None
    scaled: list[tuple[Tensor, Tensor | None]] = []
    groups: dict[tuple[bool, int, bool, float], list[Term]] = {}
    for term in map(_in_rows, terms):
        rows, weight, pointwise, norm, _ = term
        if norm is None and pointwise is None:
            scaled.append((rows, weight))
        elif weight is not None and weight.dim() > 0:
            scaled.append((_affine_sum(None, [term._replace(weight=None)]), weight))
        else:
            eps = 0.0 if norm is None else norm.eps
            key = (pointwise is not None, rows.shape[2], takes_batch(norm), eps)
            groups.setdefault(key, []).append(term)
    for alike in groups.values():
        total = _affine_sum(total, alike)
    if scaled:
        total = add_weighted(total, None, [], scaled)
    assert total is not None
    return total


def _in_rows(term: Term) -> Term:
    """The term with features as of `as_rows`, and a pointwise [Cout, Cin] worth folding."""
    rows, weight, pointwise, norm, moments = term
    rows = as_rows(rows)
    if pointwise is not None:
        pointwise = pointwise.flatten(1)
        outputs, inputs = pointwise.shape
        if inputs > outputs or not _worth_folding(rows):
            rows, pointwise = add_weighted(None, None, [(rows, pointwise)], []), None
    if weight is not None and weight.dim() > 0:
        weight = weight.flatten(2)
    return Term(rows, weight, pointwise, norm, moments)


def _worth_folding(rows: Tensor) -> bool:
    widest = WIDEST if rows.numel() >= LARGE else NARROW
    return rows.shape[2] <= widest


def _affine_sum(total: Tensor | None, terms: Sequence[Term]) -> Tensor:
    """total, changed in place, and terms as of `_in_rows`.

    They are alike in width, in having a pointwise, in the ε of their norms, and in whether
    these take the statistics of the batch.
    """
    maps = [term.features for term in terms]
    norms = [term.norm for term in terms]
    kernels = [term.pointwise for term in terms if term.pointwise is not None]
    pointwise = torch.stack(kernels) if kernels else None
    given = [term.weight for term in terms]
    weights = None
    if any(weight is not None for weight in given):
        one = maps[0].new_ones(())
        weights = torch.stack([one if weight is None else weight for weight in given])
    parameters = scales_and_shifts(norms)
    if norms[0] is not None and takes_batch(norms[0]):
        eps = norms[0].eps
        known = [term.moments for term in terms]
        total, mean, variance = add_normed(total, maps, pointwise, weights, parameters, eps, known)
        update_running(norms, mean, variance, maps[0].shape[0] * maps[0].shape[1])
        return total
    width = maps[0].shape[2] if pointwise is None else pointwise.shape[1]
    mean, slope = fixed_statistics(norms, maps[0].new_empty(len(terms), width))
    if parameters is not None:
        slope = slope * parameters[0]
    bias = -slope * mean if parameters is None else parameters[1] - slope * mean
    if weights is not None:
        slope, bias = weights[:, None] * slope, weights[:, None] * bias
    if pointwise is None:
        pairs = list(zip(maps, slope.unbind(), strict=True))
        return add_weighted(total, bias.sum(0), [], pairs)
    pairs = list(zip(maps, (slope[:, :, None] * pointwise).unbind(), strict=True))
    return add_weighted(total, bias.sum(0), pairs, [])
