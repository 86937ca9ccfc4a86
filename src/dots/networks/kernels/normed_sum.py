"""Sums of batch-normalised 1×1 convolutions by the algebra of moments (see `node_sum`).

With the moments m = mean(z) and S = mean(z zᵀ) of a map z of N positions, a matrix P, and a
batch norm with scale γ, shift β and mixing weight w,

    C = S - m mᵀ,   μ = P m,   v = diag(P C Pᵀ),   r = (v + ε)^(-1/2),   s = w γ r,
    w · norm(P z) = s (P z) + (w β - s μ).

Given the gradient D of the sum, b = Σ D and G = Σ D zᵀ over positions (the one pass over the map
that parameters need) and d = diag(G Pᵀ) - μ b, the chain rule gives

    ∂v = -d s r² / 2,                ∂C = Pᵀ ∂v P,       ∂m = -Pᵀ(s b) - 2 ∂C m,
    ∂P = s G + 2 ∂v P C - (s b) mᵀ,  ∂(wγ) = d r,        ∂(wβ) = b,
    ∂z = (s P)ᵀ D + (2 ∂C z + ∂m) / N.

Without P, matrices become their diagonals. All but the passes over maps is in float64, which
costs nothing at this size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dots.networks.kernels.native import kernels_for
from dots.networks.kernels.products import (
    add_product,
    channel_sums,
    differentiable_gradients,
    outers,
    product,
)

CONDITIONED = 1e-4
"""Below this share of what it is a difference of, a variance is computed in float64."""


class NormedSum(NamedTuple):
    """A sum, and the mean and (biased) variance [T, Cout] of each normalised map, in float64."""

    total: Tensor
    mean: Tensor
    variance: Tensor


class Moments(NamedTuple):
    """Mean and (biased) variance [C] of a map's channels over all positions, in float64."""

    mean: Tensor
    variance: Tensor


class Measured(NamedTuple):
    """A map [B, C, H, W], and its moments where they were taken with it."""

    features: Tensor
    moments: Moments | None


Known = Sequence[Moments | None]
"""The moments of maps, where they are known."""


def add_normed(
    total: Tensor | None,
    maps: Sequence[Tensor],
    pointwise: Tensor | None,
    weights: Tensor | None,
    parameters: tuple[Tensor, Tensor] | None,
    eps: float,
    known: Known = (),
) -> NormedSum:
    """total + Σ weight · norm(pointwise · map), each norm with the statistics of the batch.

    total: a map of Cout channels that no one else needs, changed in place, or None; maps:
    T times [images, positions, Cin], contiguous; pointwise: [T, Cout, Cin], or None for none;
    weights: [T], None: ones; parameters: scales and shifts, [T, Cout] each, None: ones and
    zeros; known: the moments of maps that are not multiplied, so that they are not taken
    again. Twice differentiable.
    """
    scales, shifts = parameters or (None, None)
    options = _Options(eps, known or (None,) * len(maps))
    return NormedSum(*_NormedSum.apply(options, total, pointwise, weights, scales, shifts, *maps))


class _Options(NamedTuple):
    eps: float
    known: Known


class _Statistics(NamedTuple):
    """Of the maps and of their products, in float64; without P, C is its diagonal."""

    m: Tensor  # [T, Cin]
    mu: Tensor  # [T, Cout]
    pc: Tensor  # P C [T, Cout, Cin], or C
    v: Tensor  # [T, Cout]


class _NormedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        options: _Options,
        total: Tensor | None,
        pointwise: Tensor | None,
        weights: Tensor | None,
        scales: Tensor | None,
        shifts: Tensor | None,
        *maps: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.eps = eps = options.eps
        ctx.save_for_backward(pointwise, weights, scales, shifts, *maps)
        p = None if pointwise is None else pointwise.double()
        statistics = _statistics(maps, p, options)
        _, mu, _, v = statistics
        r = (v + eps).rsqrt_()
        s = _weighted(r if scales is None else r * scales, weights)
        bias = -s * mu if shifts is None else _weighted(shifts, weights) - s * mu
        ctx.small = (p, r, s, statistics)
        dtype = maps[0].dtype
        factors = (s if p is None else s[:, :, None] * p).to(dtype)
        offset = bias.sum(0).to(dtype)
        if total is not None:
            ctx.mark_dirty(total)
        ctx.mark_non_differentiable(mu, v)
        return _affine_sum(total, maps, factors, offset), mu, v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0].contiguous()
        saved = ctx.saved_tensors  # to be asked for once, says activation checkpointing
        by_total = gradient if ctx.needs_input_grad[1] else None
        if torch.is_grad_enabled():
            results = _differentiable(gradient, ctx.eps, saved, ctx.needs_input_grad[2:])
            return None, by_total, *results
        _, weights, scales, shifts, *maps = saved
        p, r, s, (m, mu, pc, _) = ctx.small
        b, g = _gradient_sums(gradient, maps, p)
        d = (g if p is None else (g * p).sum(2)) - mu * b
        by_scale = d * r
        by_weight = by_scale if scales is None else by_scale * scales + b * shifts
        by_v = -0.5 * d * s * r.square()
        sb = s * b
        if p is None:
            by_p = None
            by_c = by_v
            by_m = -sb - 2 * by_c * m
        else:
            by_p = s[:, :, None] * g + 2 * by_v[:, :, None] * pc - sb[:, :, None] * m[:, None]
            by_c = torch.bmm(p.mT, by_v[:, :, None] * p)
            by_m = -(p.mT @ sb[:, :, None] + 2 * by_c @ m[:, :, None]).squeeze(2)
        factors = s if p is None else s[:, :, None] * p
        by_maps = _by_maps(gradient, maps, factors, by_c, by_m, ctx.needs_input_grad[6:])
        return (
            None,
            by_total,
            in_type_of(by_p, saved[0]),
            in_type_of(by_weight.sum(1), weights),
            in_type_of(_weighted(by_scale, weights), scales),
            in_type_of(_weighted(b.expand_as(d), weights), shifts),
            *by_maps,
        )


def _statistics(maps: Sequence[Tensor], p: Tensor | None, options: _Options) -> _Statistics:
    """In the precision of `products`, and where a variance cancels in float64 throughout."""
    native = kernels_for(*maps)
    if p is None and native is not None:
        pairs = zip(maps, options.known, strict=True)
        moments = [Moments(*native.moments(z)) if known is None else known for z, known in pairs]
        m, v = (torch.stack(rows) for rows in zip(*moments, strict=True))
        return _Statistics(m, m, v, v)
    count = maps[0].shape[0] * maps[0].shape[1]
    for exact in (False, True):
        values: Sequence[Tensor] = [z.double() for z in maps] if exact else maps
        m = channel_sums(values) / count
        second = _products(values, values, p) / count
        if p is None:
            c = second - m.square()
            result, largest = _Statistics(m, m, c, c.clamp(min=0.0)), second
        else:
            c = torch.baddbmm(second, m[:, :, None], m[:, None], alpha=-1)
            pc = torch.bmm(p, c)
            v = (pc * p).sum(2).clamp_(min=0.0)
            result = _Statistics(m, torch.bmm(p, m[:, :, None]).squeeze(2), pc, v)
            root = second.diagonal(dim1=1, dim2=2).sqrt()
            largest = torch.bmm(p.abs(), root[:, :, None]).squeeze(2).square_()
        precise = exact or maps[0].dtype == torch.float64
        if precise or not bool((result.v + options.eps < CONDITIONED * largest).any()):
            break
    return result


def _products(first: Sequence[Tensor], second: Sequence[Tensor], p: Tensor | None) -> Tensor:
    """Σ a bᵀ over positions of each pair, or without p its diagonal, in float64."""
    if p is not None:
        return outers(first, second)
    return channel_sums([a * b for a, b in zip(first, second, strict=True)])


def _gradient_sums(
    gradient: Tensor, maps: Sequence[Tensor], p: Tensor | None
) -> tuple[Tensor, Tensor]:
    """b and G (see above), without p the diagonals of G."""
    native = kernels_for(gradient, *maps)
    if p is None and native is not None:
        return native.channel_products(gradient, maps)
    (b,) = channel_sums([gradient])
    return b, _products([gradient] * len(maps), maps, p)


def _weighted(x: Tensor, weights: Tensor | None) -> Tensor:
    """Rows [T, ..] times weights [T]."""
    return x if weights is None else x * weights[:, None]


def in_type_of(x: Tensor | None, other: Tensor | None) -> Tensor | None:
    """x in the type of `other`; None where one of them is."""
    return None if x is None or other is None else x.to(other.dtype)


def _affine_sum(
    total: Tensor | None, maps: Sequence[Tensor], factors: Tensor, offset: Tensor
) -> Tensor:
    """total + Σ factor · map + offset, in place; factors are [T, Cout, Cin] or [T, Cout]."""
    native = kernels_for(*maps)
    if factors.dim() == 2 and native is not None:
        return native.add_scaled(total, maps, factors, offset)
    added: Tensor | None = offset
    for z, factor in zip(maps, factors, strict=True):
        if factor.dim() == 2:
            if total is not None:
                add_product(total, z, factor)
            else:
                total, added = product(z, factor, offset), None
        elif total is None:
            total, added = torch.addcmul(offset, z, factor), None
        else:
            total.addcmul_(z, factor)
    assert total is not None
    return total if added is None else total.add_(added)


def _by_maps(
    gradient: Tensor,
    maps: Sequence[Tensor],
    factors: Tensor,
    by_c: Tensor,
    by_m: Tensor,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """∂z of each map that needs one."""
    count, dtype = gradient.shape[0] * gradient.shape[1], gradient.dtype
    factors, slopes, shifts = (x.to(dtype) for x in (factors, 2 * by_c / count, by_m / count))
    results: list[Tensor | None] = []
    native = kernels_for(gradient, *maps)
    if slopes.dim() == 2 and native is not None:
        return native.map_gradients(gradient, maps, factors, slopes, shifts, needed)
    for index, z in enumerate(maps):
        if not needed[index]:
            results.append(None)
        elif slopes.dim() == 3:
            result = product(gradient, factors[index].T, shifts[index])
            results.append(add_product(result, z, slopes[index].T))
        else:
            result = torch.addcmul(shifts[index], z, slopes[index])
            results.append(result.addcmul_(gradient, factors[index]))
    return results


def _differentiable(
    gradient: Tensor, eps: float, inputs: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients by automatic differentiation of the plain formula, to be differentiated."""
    pointwise, weights, scales, shifts, *maps = inputs
    total = torch.zeros_like(gradient)
    for index, z in enumerate(maps):
        assert z is not None
        y = z if pointwise is None else z @ pointwise[index].T
        y = y - y.mean((0, 1))
        y = y * torch.rsqrt(y.square().mean((0, 1)) + eps)
        if scales is not None and shifts is not None:
            y = y * scales[index] + shifts[index]
        total = total + (y if weights is None else y * weights[index])
    return differentiable_gradients(total, gradient, inputs, needed)
