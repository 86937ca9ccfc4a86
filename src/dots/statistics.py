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
    maps: Sequence[Tensor], pointwise: Tensor | None, eps: float
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Mean and (biased) variance of T maps after a 1×1 convolution, [T, Cout] each.

    maps: [images, positions, Cin]; pointwise: [T, Cout, Cin], or None for none; eps: what will
    be added to the variances. The first result are the maps to use from now on (see `moments`).
    """
    full = pointwise is not None
    same, first, second = moments(maps, full=full)
    mean, variance, cancelled = _of_products(pointwise, first, second, maps[0].dtype, eps)
    if cancelled:
        same, first, second = moments(maps, full=full, exact=True)
        mean, variance, _ = _of_products(pointwise, first, second, torch.float64, eps)
    return same, mean, variance


def _of_products(
    pointwise: Tensor | None, first: Tensor, second: Tensor, dtype: torch.dtype, eps: float
) -> tuple[Tensor, Tensor, bool]:
    """Mean and variance [T, Cout] from float64 moments, computed in `dtype`.

    And whether a variance is so small a difference of moments that `dtype` is not enough.
    """
    if pointwise is None:
        mean, variance = first.to(dtype), (second - first.square()).to(dtype)
        largest = second.detach().to(dtype)
    else:
        pointwise = pointwise.to(dtype)
        covariance = (second - first[:, :, None] * first[:, None, :]).to(dtype)
        variance = (torch.bmm(pointwise, covariance) * pointwise).sum(2)
        mean = torch.bmm(pointwise, first[:, :, None].to(dtype)).squeeze(2)
        root = second.detach().diagonal(dim1=1, dim2=2).sqrt().to(dtype)
        largest = torch.bmm(pointwise.detach().abs(), root[:, :, None]).squeeze(2).square_()
    cancelled = dtype != torch.float64 and bool(
        (variance.detach() + eps < CONDITIONED * largest).any()
    )
    return mean, variance.clamp(min=0.0), cancelled


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
) -> tuple[Tensor, Tensor] | None:
    """The parameters of each norm, [T, Cout] as `like`; None where no norm has any."""
    if not any(norm is not None and norm.affine for norm in norms):
        return None
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
    unbiased = variance * (count / (count - 1))
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), share)
