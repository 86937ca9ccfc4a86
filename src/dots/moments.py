"""The passes over feature maps that a folded node takes (see `dots.folding`).

Maps are [images, positions, channels], views of channels-last tensors. Sums over positions are
taken in float32 over blocks of a few hundred, which keeps rounding errors near 1e-7, and in
float64 over the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

BLOCK = 512
"""Positions in a block, about: many enough for fast products, few enough for precise sums."""


def moments(
    maps: Sequence[Tensor], *, full: bool, exact: bool = False
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Means [T, C] and second moments of T maps, in float64: [T, C, C], or without `full` [T, C].

    The first result are maps equal to `maps`: use these afterwards, and only once, in a way
    whose gradient is a fresh tensor. The gradient of the moments is added to it in place, which
    saves a pass over memory. With `exact` all is summed in float64.
    """
    *same, first, second = _Moments.apply(full, exact, *maps)
    return same, first, second


def accumulate(
    bias: Tensor | None,
    mapped: Sequence[tuple[Tensor, Tensor]],
    scaled: Sequence[tuple[Tensor, Tensor | None]],
) -> Tensor:
    """bias + Σ matrix · map + Σ scale * map, a map [images, positions, Cout].

    bias: [Cout] or None; `mapped`: pairs of a map of Cin channels and a matrix [Cout, Cin];
    `scaled`: pairs of a map of Cout channels and what broadcasts to it (a number, [Cout], or
    [images, 1, 1]), or None for one. There is at least one pair.
    """
    maps = [z for z, _ in mapped] + [z for z, _ in scaled]
    factors = [matrix for _, matrix in mapped] + [scale for _, scale in scaled]
    total: Tensor = _Accumulate.apply(len(mapped), bias, *maps, *factors)
    return total


def _blocks(z: Tensor) -> Tensor:
    """[images, positions, C] -> [blocks, positions of a block, C], a view."""
    positions = z.shape[0] * z.shape[1]
    return z.view(math.gcd(positions, max(1, positions // BLOCK)), -1, z.shape[2])


def _sum(z: Tensor) -> Tensor:
    """The sum of a map over images and positions, [C] in float64."""
    return _blocks(z).sum(1).sum(0, dtype=torch.float64)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Σ a bᵀ over images and positions, [Ca, Cb] in float64."""
    return torch.bmm(_blocks(a).mT, _blocks(b)).sum(0, dtype=torch.float64)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of two maps, in pieces for the sake of precision."""
    pieces = math.gcd(a.numel(), max(1, a.numel() // 2**16))
    rows = zip(a.reshape(pieces, -1), b.reshape(pieces, -1), strict=True)
    return torch.stack([torch.dot(row, other) for row, other in rows]).sum()


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, full: bool, exact: bool, *maps: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*maps)
        ctx.full = full
        count = maps[0].shape[0] * maps[0].shape[1]
        values = [z.double() for z in maps] if exact else maps
        first = torch.stack([_sum(z) for z in values])
        second = torch.stack([_outer(z, z) if full else _sum(z.square()) for z in values])
        return (*(z.view_as(z) for z in maps), first.div_(count), second.div_(count))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *passed, by_first, by_second = gradients
        maps = ctx.saved_tensors
        count, dtype = maps[0].shape[0] * maps[0].shape[1], maps[0].dtype
        twice = by_second + by_second.mT if ctx.full else 2 * by_second
        shifts, slopes = (by_first / count).to(dtype), (twice / count).to(dtype)
        results: list[Tensor | None] = [None, None]
        for index, z in enumerate(maps):
            gradient, slope, shift = passed[index], slopes[index], shifts[index]
            if torch.is_grad_enabled():  # for second derivatives: nothing in place
                change = z @ slope if ctx.full else z * slope
                results.append(gradient + change + shift)
            elif not ctx.needs_input_grad[2 + index]:
                results.append(None)
            elif ctx.full:
                results.append(_add_product(gradient, z, slope).add_(shift))
            else:
                results.append(gradient.addcmul_(z, slope).add_(shift))
        return tuple(results)


class _Accumulate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, bias: Tensor | None, *tensors: Tensor) -> Tensor:
        maps, factors = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        ctx.count = count
        # A map is needed for the gradient of its factor alone.
        wanted = ctx.needs_input_grad[2 + len(maps) :]
        kept = (z if needs else None for z, needs in zip(maps, wanted, strict=True))
        ctx.save_for_backward(*kept, *factors)
        total, owned = None, True
        for index, (z, factor) in enumerate(zip(maps, factors, strict=True)):
            if index < count:
                total = (z @ factor.T) if total is None else _add_product(total, z, factor.T)
            elif total is None:
                total, owned = (z, False) if factor is None else (z * factor, True)
            else:
                total, owned = _add_scaled(total, z, factor, in_place=owned), True
        assert total is not None
        if not owned:
            total = total.clone()
        return total if bias is None else total.add_(bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0].contiguous()
        saved = ctx.saved_tensors  # to be asked for once, says activation checkpointing
        maps, factors = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        _, needs_bias, *needed = ctx.needs_input_grad
        by_maps: list[Tensor | None] = []
        by_factors: list[Tensor | None] = []
        for index, (z, factor) in enumerate(zip(maps, factors, strict=True)):
            matrix = index < ctx.count
            if not needed[index]:
                by_maps.append(None)
            elif factor is None:
                by_maps.append(gradient)
            else:
                by_maps.append(gradient @ factor if matrix else gradient * factor)
            if not needed[len(maps) + index]:
                by_factors.append(None)
            elif matrix:
                by_factors.append(_outer(gradient, z).to(factor.dtype))
            else:
                by_factors.append(_by_scale(gradient, z, factor))
        by_bias = _sum(gradient).to(gradient.dtype) if needs_bias else None
        return None, by_bias, *by_maps, *by_factors


def _by_scale(gradient: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """The gradient with respect to what a map is scaled by."""
    if scale.dim() == 0:
        return _inner(gradient, z)
    product = gradient * z
    if scale.dim() == 1:
        return _sum(product).to(scale.dtype)
    return product.sum_to_size(scale.shape)


def _add_product(total: Tensor, z: Tensor, matrix: Tensor) -> Tensor:
    """total += z matrix, in place."""
    total.view(-1, total.shape[2]).addmm_(z.view(-1, z.shape[2]), matrix)
    return total


def _add_scaled(total: Tensor, z: Tensor, scale: Tensor | None, *, in_place: bool) -> Tensor:
    """total + scale * z."""
    if scale is None:
        return total.add_(z) if in_place else total + z
    return total.addcmul_(z, scale) if in_place else torch.addcmul(total, z, scale)
