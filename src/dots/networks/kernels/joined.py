"""A 1×1 convolution of maps side by side, without their concatenation.

The cells' preprocessing convolves the outputs of cells, which are their nodes side by side. The
kernels of `native` join a few pixels at a time, in the caches, and take the moments that
the batch norm after it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dots.networks.kernels.native import Kernels, kernels_for
from dots.networks.kernels.normed_sum import Measured, Moments
from dots.networks.kernels.products import as_map, as_rows, differentiable_gradients


def joinable(parts: Sequence[Tensor], pointwise: Tensor) -> bool:
    """Whether `joined` takes these maps [B, C_i, H, W] and pointwise [C_out, Σ C_i, 1, 1]."""
    native = kernels_for(*parts, pointwise)
    return (
        native is not None
        and torch.is_grad_enabled()
        and min(len(pointwise), *(part.shape[1] for part in parts)) >= native.fewest_channels
        and parts[0].numel() > 0
    )


def joined(parts: Sequence[Tensor], pointwise: Tensor) -> Measured:
    """conv1x1 of what is joinable, [B, C_out, H, W], with its moments. Twice differentiable."""
    native = kernels_for(*parts, pointwise)
    assert native is not None, "see joinable"
    features, *moments = _Joined.apply(native, pointwise, *parts)
    return Measured(features, Moments(*moments))


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, native: Kernels, pointwise: Tensor, *parts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.native = native
        ctx.save_for_backward(pointwise, *parts)
        matrix = pointwise.flatten(1).contiguous()
        rows, mean, variance = native.joined_forward([as_rows(part) for part in parts], matrix)
        ctx.mark_non_differentiable(mean, variance)
        return as_map(rows, parts[0]), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pointwise, *parts = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            y = F.conv2d(torch.cat(parts, dim=1), pointwise)
            inputs = (pointwise, *parts)
            return None, *differentiable_gradients(y, gradients[0], inputs, wanted)
        matrix, maps = pointwise.flatten(1).contiguous(), [as_rows(part) for part in parts]
        by_matrix, by_maps = ctx.native.joined_backward(as_rows(gradients[0]), maps, matrix, wanted)
        by_parts = [None if rows is None else as_map(rows, parts[0]) for rows in by_maps]
        return None, None if by_matrix is None else by_matrix.view_as(pointwise), *by_parts
