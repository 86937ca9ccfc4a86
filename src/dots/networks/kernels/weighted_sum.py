"""Sums of feature maps times matrices or numbers, accumulated into one buffer.

Maps are [images, positions, channels], contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dots.networks.kernels.products import add_product, channel_sums, inner, outers, product


def add_weighted(
    total: Tensor | None,
    bias: Tensor | None,
    mapped: Sequence[tuple[Tensor, Tensor]],
    scaled: Sequence[tuple[Tensor, Tensor | None]],
) -> Tensor:
    """total + bias + Σ matrix · map + Σ scale * map: `total` itself where it is given.

    total: a map of Cout channels that no one else needs, or None; bias: [Cout] or None;
    `mapped`: pairs of a map of Cin channels and a matrix [Cout, Cin]; `scaled`: pairs of a map
    of Cout channels and what broadcasts to it (0-d, [Cout], or [images, 1, 1]), or None for
    one. There is at least one pair.
    """
    maps = [z for z, _ in mapped] + [z for z, _ in scaled]
    factors = [matrix for _, matrix in mapped] + [scale for _, scale in scaled]
    result: Tensor = _WeightedSum.apply(len(mapped), total, bias, *maps, *factors)
    return result


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, count: int, total: Tensor | None, bias: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        maps, factors = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        ctx.count = count
        # A map is needed for the gradient of its factor alone.
        wanted = ctx.needs_input_grad[3 + len(maps) :]
        kept = (z if needs else None for z, needs in zip(maps, wanted, strict=True))
        ctx.save_for_backward(*kept, *factors)
        if total is not None:
            ctx.mark_dirty(total)
        owned = True
        for index, (z, factor) in enumerate(zip(maps, factors, strict=True)):
            if index < count:
                total = product(z, factor) if total is None else add_product(total, z, factor)
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
        _, needs_total, needs_bias, *needed = ctx.needs_input_grad
        by_maps: list[Tensor | None] = []
        by_factors: list[Tensor | None] = []
        for index, (z, factor) in enumerate(zip(maps, factors, strict=True)):
            matrix = index < ctx.count
            if not needed[index]:
                by_maps.append(None)
            elif factor is None:
                by_maps.append(gradient)
            else:
                by_maps.append(product(gradient, factor.T) if matrix else gradient * factor)
            if not needed[len(maps) + index]:
                by_factors.append(None)
            elif matrix:
                by_factors.append(outers([gradient], [z])[0].to(factor.dtype))
            else:
                by_factors.append(_by_scale(gradient, z, factor))
        by_total = gradient if needs_total else None
        by_bias = channel_sums([gradient])[0].to(gradient.dtype) if needs_bias else None
        return None, by_total, by_bias, *by_maps, *by_factors


def _by_scale(gradient: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """The gradient with respect to what a map is scaled by."""
    if scale.dim() == 0:
        return inner(gradient, z)
    by_scale = gradient * z
    if scale.dim() == 1:
        return channel_sums([by_scale])[0].to(scale.dtype)
    return by_scale.sum_to_size(scale.shape)


def _add_scaled(total: Tensor, z: Tensor, scale: Tensor | None, *, in_place: bool) -> Tensor:
    """total + scale * z."""
    if scale is None:
        return total.add_(z) if in_place else total + z
    return total.addcmul_(z, scale) if in_place else torch.addcmul(total, z, scale)
