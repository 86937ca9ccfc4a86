"""Sums over the positions of feature maps: precise, and at the speed of matrix products.

Maps are [images, positions, channels], contiguous. Products are summed in the precision of the
maps over blocks of a few hundred positions, which keeps rounding errors of float32 near 1e-7,
and in float64 over the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 512
"""Positions in a block, about: many enough for fast products, few enough for precise sums."""
PIECE = 2**16
"""Numbers in a piece of an inner product, about."""


def channel_sums(maps: Sequence[Tensor]) -> Tensor:
    """Σ z of each map, [T, C] in float64."""
    return torch.stack([_blocks(z).sum(1) for z in maps]).sum(1, dtype=torch.float64)


def outers(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Σ a bᵀ of each pair of maps, [T, Ca, Cb] in float64."""
    blocks = [torch.bmm(_blocks(a).mT, _blocks(b)) for a, b in zip(first, second, strict=True)]
    return torch.stack(blocks).sum(1, dtype=torch.float64)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of two maps, 0-d."""
    pieces = math.gcd(a.numel(), max(1, a.numel() // PIECE))
    rows = zip(a.view(pieces, -1), b.view(pieces, -1), strict=True)
    return torch.stack([torch.dot(row, other) for row, other in rows]).sum()


def add_product(total: Tensor, z: Tensor, matrix: Tensor) -> Tensor:
    """total += z matrix, in place; matrix: [C, channels of total]."""
    total.view(-1, total.shape[2]).addmm_(z.view(-1, z.shape[2]), matrix)
    return total


def _blocks(z: Tensor) -> Tensor:
    """[images, positions, C] -> [blocks, positions of a block, C], a view."""
    positions = z.shape[0] * z.shape[1]
    return z.view(math.gcd(positions, max(1, positions // BLOCK)), -1, z.shape[2])
