"""What batch norms subtract from 1×1 convolutions and multiply them by (see `dots.folding`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dots.moments import moments

CONDITIONED = 1e-4
"""Below this share of what it is a difference of, a variance is computed in float64."""


def takes_batch(norm: nn.BatchNorm2d | None) -> bool:
    """Whether the norm takes the statistics of the batch rather than the running ones."""
    return norm is not None and (norm.training or norm.running_mean is None)


def batch_statistics(
    features: list[Tensor], pointwise: Tensor, eps: Tensor
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Mean and (biased) variance of T products pointwise · features, [T, Cout] each.

    features: T maps [blocks, positions, Cin]; pointwise: [T, Cout, Cin]; eps: [T, 1], what
    will be added to the variances. The first result are the features to use from now on (see
    `moments`).
    """
    same, first, second = moments(features)
    mean, variance = _of_products(pointwise, first, second)
    if _cancelled(variance + eps, pointwise, second):
        same, first, second = moments(features, exact=True)
        mean, variance = _of_products(pointwise.double(), first, second)
    return same, mean, variance


def fixed_statistics(norms: Sequence[nn.BatchNorm2d | None], like: Tensor) -> tuple[Tensor, Tensor]:
    """The running mean and 1/std of each norm, 0 and 1 where there is none: as `like` [T, Cout]."""
    mean, inverse_std = torch.zeros_like(like), torch.ones_like(like)
    for row, norm in enumerate(norms):
        if norm is not None and norm.running_mean is not None and norm.running_var is not None:
            mean[row] = norm.running_mean
            inverse_std[row] = torch.rsqrt(norm.running_var + norm.eps)
    return mean, inverse_std


def scales_and_shifts(
    norms: Sequence[nn.BatchNorm2d | None], like: Tensor
) -> tuple[Tensor, Tensor]:
    """The parameters of each norm, broadcastable to `like` [T, Cout]; 1 and 0 where it has none."""
    if not any(norm is not None and norm.affine for norm in norms):
        return like.new_ones(()), like.new_zeros(())
    one, zero = like.new_ones(like.shape[1]), like.new_zeros(like.shape[1])
    pairs = [
        (norm.weight, norm.bias) if norm is not None and norm.affine else (one, zero)
        for norm in norms
    ]
    return torch.stack([scale for scale, _ in pairs]), torch.stack([shift for _, shift in pairs])


@torch.no_grad()
def update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running statistics with those of a batch, as the stock module does.

    `variance` is the biased one, over `count` positions; the running one is unbiased.
    """
    if norm.running_mean is None or norm.running_var is None:
        return
    if not (norm.training and norm.track_running_stats):
        return
    share = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if share is None:
            share = 1.0 / float(norm.num_batches_tracked)
    share = 0.0 if share is None else share
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    unbiased = variance * (count / (count - 1))
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), share)


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
