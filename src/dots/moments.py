"""The passes over feature maps that a folded node takes (see `dots.folding`).

Feature maps are [blocks, positions, channels], views of channels-last tensors, and nearly every
pass is a matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def moments(
    features: Sequence[Tensor], *, exact: bool = False
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The first and second moments of T feature maps, in float64: [T, C] and [T, C, C].

    Also returns maps that equal `features`: use these afterwards, and only once, in a way whose
    gradient is a fresh tensor. The gradient of the moments is added to it in place, which saves
    a pass over memory.

    Products are summed in the precision of the features within a block and in float64 over
    blocks; with `exact`, in float64 throughout.
    """
    *same, first, second = _Moments.apply(exact, *features)
    return same, first, second


def accumulate(
    bias: Tensor | None,
    matrices: Sequence[Tensor],
    mapped: Sequence[Tensor],
    weights: Tensor | None,
    scaled: Sequence[Tensor],
) -> Tensor:
    """bias + Σ_t matrices_t mapped_t + Σ_s weights_s scaled_s, at every position.

    bias: [Cout] or None; matrices: T times [Cout, Cin]; mapped: T maps of Cin channels;
    weights: [S], or None where S is 0; scaled: S maps of Cout channels. T + S is at least 1.
    """
    total: Tensor = _Accumulate.apply(len(mapped), bias, weights, *matrices, *mapped, *scaled)
    return total


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: bool, *features: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*features)
        blocks, positions, _ = features[0].shape
        first, second = [], []
        for z in features:
            values = z.double() if exact else z
            first.append(values.sum(1).sum(0, dtype=torch.float64))
            second.append((values.mT @ values).sum(0, dtype=torch.float64))
        count = blocks * positions
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
    def forward(
        ctx: Any, count: int, bias: Tensor | None, weights: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        ctx.count = count
        ctx.save_for_backward(weights, *tensors)
        matrices, mapped, scaled = _split(tensors, count)
        total = None
        for z, matrix in zip(mapped, matrices, strict=True):
            total = z @ matrix.T if total is None else _add_product(total, z, matrix.T)
        for index, z in enumerate(scaled):
            assert weights is not None
            total = z * weights[index] if total is None else total.addcmul_(z, weights[index])
        assert total is not None
        return total if bias is None else total.add_(bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weights, *tensors = ctx.saved_tensors
        _, needs_bias, needs_weights, *needed = ctx.needs_input_grad
        matrices, mapped, scaled = _split(tensors, ctx.count)
        needs_matrix, needs_mapped, needs_scaled = _split(needed, ctx.count)
        by_bias = by_weights = None
        if needs_bias:
            by_bias = gradient.sum(1).sum(0)
        if needs_weights:
            by_weights = torch.stack([_inner(gradient, z) for z in scaled])
        by_matrices = (
            (gradient.mT @ z).sum(0) if needs else None
            for z, needs in zip(mapped, needs_matrix, strict=True)
        )
        by_mapped = (
            gradient @ matrix if needs else None
            for matrix, needs in zip(matrices, needs_mapped, strict=True)
        )
        by_scaled = (
            gradient * weights[index] if needs else None for index, needs in enumerate(needs_scaled)
        )
        return None, by_bias, by_weights, *by_matrices, *by_mapped, *by_scaled


def _split(values: Sequence[T], count: int) -> tuple[Sequence[T], Sequence[T], Sequence[T]]:
    """What belongs to the matrices, to the `count` maps they apply to, and to scaled maps."""
    return values[:count], values[count : 2 * count], values[2 * count :]


def _add_product(total: Tensor, z: Tensor, matrix: Tensor) -> Tensor:
    """total += z matrix, in place; [.., Cout], [.., Cin], [Cin, Cout]."""
    total.flatten(0, 1).addmm_(z.flatten(0, 1), matrix)
    return total


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of two maps, in pieces for the sake of small rounding errors."""
    pieces = math.gcd(a.numel(), max(1, a.numel() // 2**16))
    rows = zip(a.reshape(pieces, -1), b.reshape(pieces, -1), strict=True)
    return torch.stack([torch.dot(row, other) for row, other in rows]).sum()
