"""The two passes over feature maps that a folded node takes (see `dots.folding`).

Feature maps are [B, M, C]: images, positions, channels; a view of a channels-last tensor. Both
passes are matrix products throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def moments(
    features: Sequence[Tensor], *, exact: bool = False
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The first and second moments of T feature maps [B, M, C], in float64: [T, C], [T, C, C].

    Also returns maps that equal `features`: use these afterwards, and only once, in a way whose
    gradient is a fresh tensor. The gradient of the moments is added to it in place, which saves
    a pass over memory.

    Products are summed in the precision of the features within an image and in float64 over
    images, which leaves a relative error of about 1e-7 in float32; with `exact`, in float64
    throughout.
    """
    *same, first, second = _Moments.apply(exact, *features)
    return same, first, second


def accumulate(bias: Tensor, matrices: Tensor, features: Sequence[Tensor]) -> Tensor:
    """bias + Σ_t matrices_t features_t, at every position.

    bias: [Cout]; matrices: [T, Cout, Cin]; features: T times [B, M, Cin] -> [B, M, Cout].
    """
    total: Tensor = _Accumulate.apply(bias, matrices, *features)
    return total


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: bool, *features: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*features)
        images, positions, _ = features[0].shape
        first, second = [], []
        for z in features:
            values = z.double() if exact else z
            ones = values.new_ones(images, 1, positions)  # a product: faster than sum here
            first.append((ones @ values).sum((0, 1), dtype=torch.float64))
            second.append((values.mT @ values).sum(0, dtype=torch.float64))
        count = images * positions
        passed = (z.view_as(z) for z in features)
        return (*passed, torch.stack(first) / count, torch.stack(second) / count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *passed, by_first, by_second = gradients
        features = ctx.saved_tensors
        count = features[0].shape[0] * features[0].shape[1]
        shifts = (by_first / count).to(features[0].dtype)
        slopes = ((by_second + by_second.mT) / count).to(features[0].dtype)
        second_derivatives = torch.is_grad_enabled()
        results: list[Tensor | None] = [None]
        for index, z in enumerate(features):
            result, slope, shift = passed[index], slopes[index], shifts[index]
            if second_derivatives:
                results.append(result + z @ slope + shift)
            elif ctx.needs_input_grad[1 + index]:
                _add_product(result, z, slope)
                results.append(result.add_(shift))
            else:
                results.append(None)
        return tuple(results)


class _Accumulate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bias: Tensor, matrices: Tensor, *features: Tensor) -> Tensor:
        ctx.save_for_backward(matrices, *features)
        total = features[0] @ matrices[0].T
        for z, matrix in zip(features[1:], matrices[1:], strict=True):
            _add_product(total, z, matrix.T)
        return total.add_(bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        matrices, *features = ctx.saved_tensors
        by_matrices = None
        if ctx.needs_input_grad[1]:
            by_matrices = torch.stack([(gradient.mT @ z).sum(0) for z in features])
        by_features = (
            gradient @ matrix if needed else None
            for matrix, needed in zip(matrices, ctx.needs_input_grad[2:], strict=True)
        )
        return gradient.sum(1).sum(0), by_matrices, *by_features


def _add_product(total: Tensor, z: Tensor, matrix: Tensor) -> None:
    """total += z matrix, in place; [B, M, Cout], [B, M, Cin], [Cin, Cout]."""
    total.flatten(0, 1).addmm_(z.flatten(0, 1), matrix)
