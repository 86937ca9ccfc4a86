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

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.moments import accumulate
from dots.statistics import (
    batch_statistics,
    fixed_statistics,
    scales_and_shifts,
    takes_batch,
    update_running,
)


class Term(NamedTuple):
    """One summand of a node: weight · norm(conv1x1(features, pointwise)).

    features: [B, Cin, H, W]; weight: 0-d; pointwise: [Cout, Cin, 1, 1] or None (identity);
    norm: a batch norm over the Cout channels or None (identity).
    """

    features: Tensor
    weight: Tensor
    pointwise: Tensor | None
    norm: nn.BatchNorm2d | None


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
        return _as_map(_folded_sum(terms), terms[0].features)
    values = [term.weight * _plain(term) for term in terms]
    return sum(values[1:], values[0])


def normed_pointwise(
    x: Tensor, pointwise: Tensor, norm: nn.BatchNorm2d, *, relu: bool, fast: bool
) -> Tensor:
    """norm(conv1x1(x, pointwise)), then ReLU where `relu`: [B, Cin, H, W] -> [B, Cout, H, W]."""
    term = Term(x, pointwise.new_ones(()), pointwise, norm)
    if not fast or not foldable(term.features, term.norm):
        value = _plain(term)
        return F.relu(value) if relu else value
    rows = _folded_sum([term])
    return _as_map(F.relu_(rows) if relu else rows, x)


def _plain(term: Term) -> Tensor:
    """norm(conv1x1(features, pointwise)) with the stock modules."""
    value = term.features if term.pointwise is None else F.conv2d(term.features, term.pointwise)
    if term.norm is not None:
        value = term.norm(value)
    return value


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
    """A map [B, C, H, W] of zero mean and unit variance, and what it was before, [C] each."""

    features: Tensor
    mean: Tensor
    variance: Tensor

    def update(self, norm: nn.BatchNorm2d) -> None:
        """Let `norm` keep running statistics as if it had normalised the map."""
        count = self.features.numel() // self.features.shape[1]
        update_running(norm, self.mean, self.variance, count)


def normalised(x: Tensor, eps: float) -> Normalised:
    """Normalise a foldable map once, for all who would do so with norms without parameters."""
    rows = [_as_rows(x)]
    identity = torch.eye(x.shape[1], dtype=x.dtype)[None]
    rows, mean, variance = batch_statistics(rows, identity, x.new_full((1, 1), eps))
    slope = torch.rsqrt(variance[0] + eps)
    total = accumulate((-slope * mean[0]).to(x.dtype), [slope.diag().to(x.dtype)], rows, None, [])
    return Normalised(_as_map(total, x), mean[0].detach(), variance[0].detach())


def _as_rows(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [blocks, positions, C]: a view where x is channels-last.

    Sums over positions are taken in float32 within a block, in float64 over blocks. About five
    hundred positions are enough for fast products and few enough for small rounding errors.
    """
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    blocks = math.gcd(positions, max(1, positions // 512))
    return x.permute(0, 2, 3, 1).reshape(blocks, -1, x.shape[1])


def _as_map(rows: Tensor, like: Tensor) -> Tensor:
    """Undo `_as_rows`: a map of the size of `like`, of as many channels as the rows have."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _folded_sum(terms: Sequence[Term]) -> Tensor:
    """The sum of the terms: rows as of `_as_rows`."""
    scaled = [term for term in terms if term.norm is None and term.pointwise is None]
    weights = torch.stack([term.weight for term in scaled]) if scaled else None
    by_width: dict[int, list[Term]] = {}
    for term in terms:
        if term.norm is not None or term.pointwise is not None:
            by_width.setdefault(term.features.shape[1], []).append(term)
    bias: Tensor | None = None
    matrices: list[Tensor] = []
    mapped: list[Tensor] = []
    for alike in by_width.values():
        part, stacked, features = _affine_maps(alike)
        bias = part if bias is None else bias + part
        matrices += stacked.unbind()
        mapped += features
    return accumulate(bias, matrices, mapped, weights, [_as_rows(t.features) for t in scaled])


def _affine_maps(terms: Sequence[Term]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Terms of features of equal width as bias [Cout], matrices [T, Cout, Cin], and T maps."""
    # Norms that take the statistics of the batch come first.
    terms = sorted(terms, key=lambda term: not takes_batch(term.norm))
    training = [t.norm for t in terms if t.norm is not None and takes_batch(t.norm)]
    fixed = [term.norm for term in terms[len(training) :]]
    features = [_as_rows(term.features) for term in terms]
    identity = torch.eye(features[0].shape[2], dtype=features[0].dtype)
    pointwise = torch.stack(
        [identity if t.pointwise is None else t.pointwise.flatten(1) for t in terms]
    )
    mean, inverse_std = fixed_statistics(fixed, pointwise[len(training) :, :, 0])
    if training:
        chosen, batch_mean, batch_inverse = _in_training(
            features[: len(training)], pointwise[: len(training)], training
        )
        features[: len(training)] = chosen
        mean, inverse_std = torch.cat([batch_mean, mean]), torch.cat([batch_inverse, inverse_std])
    scale, shift = scales_and_shifts([term.norm for term in terms], mean)
    weights = torch.stack([term.weight for term in terms])[:, None]
    slope = weights * scale * inverse_std
    bias = (weights * shift - slope * mean).sum(0)
    dtype = features[0].dtype
    return bias.to(dtype), (slope[:, :, None] * pointwise).to(dtype), features


def _in_training(
    features: list[Tensor], pointwise: Tensor, norms: Sequence[nn.BatchNorm2d]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The features to use from now on, and mean and 1/std; the norms have seen the batch."""
    eps = pointwise.new_tensor([[norm.eps] for norm in norms])
    features, mean, variance = batch_statistics(features, pointwise, eps)
    count = features[0].shape[0] * features[0].shape[1]
    for norm, mu, var in zip(norms, mean.detach(), variance.detach(), strict=True):
        update_running(norm, mu, var, count)
    return features, mean, torch.rsqrt(variance + eps)
