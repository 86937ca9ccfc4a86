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
    if not fast or not all(_foldable(term) for term in terms):
        values = [term.weight * _plain(term) for term in terms]
    else:
        by_width: dict[int, list[Term]] = {}
        for term in terms:
            by_width.setdefault(term.features.shape[1], []).append(term)
        values = [_folded_sum(alike) for alike in by_width.values()]
    return sum(values[1:], values[0])


def normed_pointwise(
    x: Tensor, pointwise: Tensor, norm: nn.BatchNorm2d, *, relu: bool, fast: bool
) -> Tensor:
    """norm(conv1x1(x, pointwise)), then ReLU where `relu`: [B, Cin, H, W] -> [B, Cout, H, W]."""
    term = Term(x, x.new_ones(()), pointwise, norm)
    value = combine([term], fast) if fast else _plain(term)
    return F.relu(value, inplace=fast) if relu else value


def _plain(term: Term) -> Tensor:
    """norm(conv1x1(features, pointwise)) with the stock modules."""
    value = term.features if term.pointwise is None else F.conv2d(term.features, term.pointwise)
    return value if term.norm is None else term.norm(value)


def _foldable(term: Term) -> bool:
    x = term.features
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and x.shape[0] * x.shape[2] * x.shape[3] > 1
        and (term.norm is None or type(term.norm) is nn.BatchNorm2d)
    )


def _folded_sum(terms: Sequence[Term]) -> Tensor:
    """The sum of terms whose features have equal shapes.

    The small matrices are in float64: they cost nothing, and differences of moments cancel.
    """
    features = [term.features.permute(0, 2, 3, 1).flatten(1, 2) for term in terms]
    identity = torch.eye(features[0].shape[2], dtype=torch.float64)
    pointwise = torch.stack(
        [identity if t.pointwise is None else t.pointwise.flatten(1).double() for t in terms]
    )
    means, inverses = _statistics(terms, pointwise, features)
    scales, shifts = _weighted_affine(terms, pointwise)
    slopes = scales * inverses
    dtype = features[0].dtype
    bias = (shifts - slopes * means).sum(0).to(dtype)
    matrices = (slopes[:, :, None] * pointwise).to(dtype)
    total = accumulate(bias, matrices, features)
    images, _, height, columns = terms[0].features.shape
    return total.view(images, height, columns, -1).permute(0, 3, 1, 2)


def _weighted_affine(terms: Sequence[Term], pointwise: Tensor) -> tuple[Tensor, Tensor]:
    """weight · scale and weight · shift of each term's norm, [T, Cout] each."""
    zero, one = pointwise.new_zeros(pointwise.shape[1]), pointwise.new_ones(pointwise.shape[1])
    scales, shifts = [], []
    for _, weight, _, norm in terms:
        if norm is None or not norm.affine:
            scales.append(weight * one)
            shifts.append(zero)
        else:
            scales.append(weight * norm.weight.double())
            shifts.append(weight * norm.bias.double())
    return torch.stack(scales), torch.stack(shifts)


def _statistics(
    terms: Sequence[Term], pointwise: Tensor, features: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """The mean that each term's norm subtracts and what it multiplies by, [T, Cout] each.

    Without a norm they are 0 and 1. Norms in training mode take the statistics of the batch and
    update their running ones; the `features` of those terms are replaced (see `moments`).
    """
    zero, one = pointwise.new_zeros(pointwise.shape[1]), pointwise.new_ones(pointwise.shape[1])
    means, inverses = [zero] * len(terms), [one] * len(terms)
    batch: dict[int, nn.BatchNorm2d] = {}
    for index, (_, _, _, norm) in enumerate(terms):
        if norm is None:
            continue
        if norm.training or norm.running_mean is None or norm.running_var is None:
            batch[index] = norm
        else:
            means[index] = norm.running_mean.double()
            inverses[index] = torch.rsqrt(norm.running_var.double() + norm.eps)
    if batch:
        same, mean, variance = _batch_statistics(
            [features[index] for index in batch], pointwise[list(batch)], list(batch.values())
        )
        for row, (index, norm) in enumerate(batch.items()):
            features[index], means[index] = same[row], mean[row]
            inverses[index] = torch.rsqrt(variance[row] + norm.eps)
    return torch.stack(means), torch.stack(inverses)


def _batch_statistics(
    features: list[Tensor], pointwise: Tensor, norms: Sequence[nn.BatchNorm2d]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The features to use from now on; mean and variance of pointwise · features, [T, Cout]."""
    same, first, second = moments(features)
    mean, variance = _of_products(pointwise, first, second)
    magnitude = (pointwise.abs() @ second.abs() * pointwise.abs()).sum(2)
    eps = pointwise.new_tensor([[norm.eps] for norm in norms])
    if features[0].dtype != torch.float64 and (variance + eps < CONDITIONED * magnitude).any():
        same, first, second = moments(features, exact=True)
        mean, variance = _of_products(pointwise, first, second)
    count = features[0].shape[0] * features[0].shape[1]
    for norm, mu, var in zip(norms, mean.detach(), variance.detach(), strict=True):
        _update_running(norm, mu, var * (count / (count - 1)))
    return same, mean, variance


def _of_products(pointwise: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of pointwise · z from the moments of z, [T, Cout] each."""
    covariance = second - first[:, :, None] * first[:, None, :]
    variance = (pointwise @ covariance * pointwise).sum(2).clamp(min=0.0)
    return (pointwise @ first[:, :, None]).squeeze(2), variance


def _update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """As the stock module does: `variance` is the unbiased one."""
    if norm.running_mean is None or norm.running_var is None:
        return
    if not (norm.training and norm.track_running_stats):
        return
    factor = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if factor is None:
            factor = 1.0 / float(norm.num_batches_tracked)
    share = 0.0 if factor is None else factor
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
