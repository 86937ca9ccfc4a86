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

from dots.moments import accumulate, moments

CONDITIONED = 1e-4
"""Below this share of what it is the difference of, a variance is computed in float64."""


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
    if fast and all(_foldable(term) for term in terms):
        return _as_map(_folded_sum(terms), terms[0])
    values = [term.weight * _plain(term) for term in terms]
    return sum(values[1:], values[0])


def normed_pointwise(
    x: Tensor, pointwise: Tensor, norm: nn.BatchNorm2d, *, relu: bool, fast: bool
) -> Tensor:
    """norm(conv1x1(x, pointwise)), then ReLU where `relu`: [B, Cin, H, W] -> [B, Cout, H, W]."""
    term = Term(x, pointwise.new_ones(()), pointwise, norm)
    if not fast or not _foldable(term):
        value = _plain(term)
        return F.relu(value) if relu else value
    rows = _folded_sum([term])
    return _as_map(F.relu_(rows) if relu else rows, term)


def _plain(term: Term) -> Tensor:
    """norm(conv1x1(features, pointwise)) with the stock modules."""
    value = term.features if term.pointwise is None else F.conv2d(term.features, term.pointwise)
    if term.norm is not None:
        value = term.norm(value)
    return value


def _foldable(term: Term) -> bool:
    x = term.features
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and x.shape[0] * x.shape[2] * x.shape[3] > 1
        and (term.norm is None or type(term.norm) is nn.BatchNorm2d)
    )


def _as_rows(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [blocks of images, positions, C]: a view where x is channels-last.

    Sums over positions are taken in float32 within a block, in float64 over blocks. About two
    thousand positions are enough for fast products and few enough for small rounding errors.
    """
    batch, channels, height, width = x.shape
    blocks = math.gcd(batch, max(1, batch * height * width // 2048))
    return x.permute(0, 2, 3, 1).reshape(blocks, -1, channels)


def _as_map(rows: Tensor, term: Term) -> Tensor:
    """Undo `_as_rows`."""
    batch, _, height, width = term.features.shape
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
    terms = sorted(terms, key=lambda term: not _takes_batch(term.norm))
    norms = [t.norm for t in terms if t.norm is not None and _takes_batch(t.norm)]
    features = [_as_rows(term.features) for term in terms]
    identity = torch.eye(features[0].shape[2], dtype=features[0].dtype)
    pointwise = torch.stack(
        [identity if t.pointwise is None else t.pointwise.flatten(1) for t in terms]
    )
    first = len(norms)
    parts = [_fixed_statistics(terms[first:], pointwise[first:])]
    if norms:
        features[:first], statistics = _batch_statistics(features[:first], pointwise[:first], norms)
        parts.insert(0, statistics)
    mean, inverse_std = (torch.cat(both) for both in zip(*parts, strict=True))
    scale, shift = _affine(terms, mean)
    weights = torch.stack([term.weight for term in terms])[:, None]
    slope = weights * scale * inverse_std
    bias = (weights * shift - slope * mean).sum(0)
    dtype = features[0].dtype
    return bias.to(dtype), (slope[:, :, None] * pointwise).to(dtype), features


def _takes_batch(norm: nn.BatchNorm2d | None) -> bool:
    """Whether the norm takes the statistics of the batch rather than the running ones."""
    return norm is not None and (norm.training or norm.running_mean is None)


def _affine(terms: Sequence[Term], like: Tensor) -> tuple[Tensor, Tensor]:
    """The norms' scales and shifts, broadcastable to `like` [T, Cout]."""
    if not any(term.norm is not None and term.norm.affine for term in terms):
        return like.new_ones(()), like.new_zeros(())
    one, zero = like.new_ones(like.shape[1]), like.new_zeros(like.shape[1])
    pairs = [
        (norm.weight, norm.bias) if norm is not None and norm.affine else (one, zero)
        for norm in (term.norm for term in terms)
    ]
    return torch.stack([scale for scale, _ in pairs]), torch.stack([shift for _, shift in pairs])


def _fixed_statistics(terms: Sequence[Term], pointwise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1/std of terms that leave the batch's aside, [T, Cout]: running ones, or 0 and 1."""
    mean, inverse_std = (
        pointwise.new_zeros(pointwise.shape[:2]),
        pointwise.new_ones(pointwise.shape[:2]),
    )
    for row, (_, _, _, norm) in enumerate(terms):
        if norm is not None and norm.running_mean is not None and norm.running_var is not None:
            mean[row] = norm.running_mean
            inverse_std[row] = torch.rsqrt(norm.running_var + norm.eps)
    return mean, inverse_std


def _batch_statistics(
    features: list[Tensor], pointwise: Tensor, norms: Sequence[nn.BatchNorm2d]
) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """The features to use from now on (see `moments`), and mean and 1/std of their products.

    Updates the running statistics.
    """
    eps = pointwise.new_tensor([[norm.eps] for norm in norms])
    same, first, second = moments(features)
    mean, variance = _of_products(pointwise, first, second)
    if _cancelled(variance + eps, pointwise, second):
        same, first, second = moments(features, exact=True)
        mean, variance = _of_products(pointwise.double(), first, second)
    count = features[0].shape[0] * features[0].shape[1]
    unbiased = variance.detach() * (count / (count - 1))
    for norm, mu, var in zip(norms, mean.detach(), unbiased, strict=True):
        _update_running(norm, mu, var)
    return same, (mean, torch.rsqrt(variance + eps))


def _of_products(pointwise: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of pointwise · z from the float64 moments of z, [T, Cout] each."""
    covariance = (second - first[:, :, None] * first[:, None, :]).to(pointwise.dtype)
    variance = (pointwise @ covariance * pointwise).sum(2).clamp(min=0.0)
    return (pointwise @ first[:, :, None].to(pointwise.dtype)).squeeze(2), variance


@torch.no_grad()
def _cancelled(variance: Tensor, pointwise: Tensor, second: Tensor) -> bool:
    """Whether a variance [T, Cout] is so small a difference of moments that precision is lost."""
    if pointwise.dtype == torch.float64:
        return False
    magnitude = second.diagonal(dim1=1, dim2=2).sqrt().to(pointwise.dtype)
    bound = (pointwise.abs() @ magnitude[:, :, None]).squeeze(2).square()
    return bool((variance < CONDITIONED * bound).any())


def _update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """As the stock module does: `variance` is the unbiased one."""
    if norm.running_mean is None or norm.running_var is None:
        return
    if not (norm.training and norm.track_running_stats):
        return
    share = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if share is None:
            share = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share or 0.0)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share or 0.0)
