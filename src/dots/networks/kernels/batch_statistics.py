"""The statistics that batch norms keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Norms = Sequence[nn.BatchNorm2d | None]


def takes_batch(norm: nn.BatchNorm2d | None) -> bool:
    """Whether the norm takes the statistics of the batch rather than the running ones."""
    return norm is not None and (norm.training or norm.running_mean is None)


def fixed_statistics(norms: Norms, like: Tensor) -> tuple[Tensor, Tensor]:
    """The running mean and 1/std of each norm, 0 and 1 where there is none: as `like` [T, C]."""
    mean, inverse_std = torch.zeros_like(like), torch.ones_like(like)
    for row, norm in enumerate(norms):
        if norm is not None and norm.running_mean is not None and norm.running_var is not None:
            mean[row] = norm.running_mean
            inverse_std[row] = torch.rsqrt(norm.running_var + norm.eps)
    return mean, inverse_std


def scales_and_shifts(norms: Norms) -> tuple[Tensor, Tensor] | None:
    """The parameters of each norm, [T, C] each; None where no norm has any."""
    affine = [norm for norm in norms if norm is not None and norm.affine]
    if not affine:
        return None
    one, zero = torch.ones_like(affine[0].weight), torch.zeros_like(affine[0].bias)
    pairs = [
        (norm.weight, norm.bias) if norm is not None and norm.affine else (one, zero)
        for norm in norms
    ]
    return torch.stack([scale for scale, _ in pairs]), torch.stack([shift for _, shift in pairs])


@torch.no_grad()
def update_running(norms: Norms, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running statistics of T norms as the stock module does.

    `mean` and (biased) `variance` are those of a batch, [T, C], over `count` positions; the
    running variance is the unbiased one.
    """
    unbiased = variance * (count / (count - 1))
    for norm, mu, var in zip(norms, mean.unbind(), unbiased.unbind(), strict=True):
        if norm is None or norm.running_mean is None or norm.running_var is None:
            continue
        if not (norm.training and norm.track_running_stats):
            continue
        share = norm.momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if share is None:
                share = 1.0 / float(norm.num_batches_tracked)
        share = 0.0 if share is None else share
        norm.running_mean.lerp_(mu.to(norm.running_mean.dtype), share)
        norm.running_var.lerp_(var.to(norm.running_var.dtype), share)
