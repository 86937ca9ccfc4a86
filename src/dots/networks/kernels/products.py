"""Sums over the positions of feature maps, and products with them: precise and fast.

Maps are [images, positions, channels], contiguous. Products are summed in the precision of the
maps over blocks, which keeps rounding errors of float32 near 1e-7, and in float64 over the blocks.

A matrix product of a map is a 1×1 convolution, and the sum of products of two maps the gradient
of its kernel. oneDNN, PyTorch's backend of convolutions on CPUs, is faster at both than the
matrix products, and with few channels several times so. It takes them where the map can be seen
as at least 16 images: with fewer PyTorch chooses another backend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 512
"""Positions in a block of a matrix product, about: fast products, precise sums."""
LONG_BLOCK = 2**15
"""The same for oneDNN, which itself sums in several parts."""
PIECE = 2**16
"""Numbers in a piece of an inner product, about."""
IMAGES, COLUMNS = 16, 32
"""What oneDNN is given: any shape does that has the right number of positions."""
FEWEST = 2**12
"""Positions from which on oneDNN is faster: a call of it costs more."""
NARROW = 16
"""Channels below which a product that is added to a sum is faster if it is formed first."""


def channel_sums(maps: Sequence[Tensor]) -> Tensor:
    """Σ z of each map, [T, C] in float64."""
    return torch.stack([_blocks(z).sum(1) for z in maps]).sum(1, dtype=torch.float64)


def outers(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Σ a bᵀ of each pair of maps, [T, Ca, Cb] in float64."""
    if all(_suits_convolution(z) for z in (*first, *second)):
        blocks = [_outers_of_blocks(a, b) for a, b in zip(first, second, strict=True)]
    else:
        blocks = [torch.bmm(_blocks(a).mT, _blocks(b)) for a, b in zip(first, second, strict=True)]
    return torch.stack(blocks).sum(1, dtype=torch.float64)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of two maps, 0-d."""
    pieces = math.gcd(a.numel(), max(1, a.numel() // PIECE))
    rows = zip(a.view(pieces, -1), b.view(pieces, -1), strict=True)
    return torch.stack([torch.dot(row, other) for row, other in rows]).sum()


def product(z: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """matrix z + offset at every position; matrix: [Cout, Cin], offset: [Cout].

    Not differentiable: for use within functions that have a gradient of their own.
    """
    if not _suits_convolution(z):
        result = z @ matrix.T
        return result if offset is None else result.add_(offset)
    (images,) = _as_images(z, 1)
    result = F.conv2d(images, matrix[:, :, None, None], offset)
    rows = result.permute(0, 2, 3, 1).reshape(*z.shape[:2], len(matrix))
    return rows.data  # no view of the convolution's result, so that it may be changed in place


def add_product(total: Tensor, z: Tensor, matrix: Tensor) -> Tensor:
    """total += matrix z, in place; matrix: [channels of total, C]."""
    if max(matrix.shape) < NARROW and _suits_convolution(z):
        return total.add_(product(z, matrix))
    total.view(-1, total.shape[2]).addmm_(z.view(-1, z.shape[2]), matrix.T)
    return total


def _blocks(z: Tensor) -> Tensor:
    """[images, positions, C] -> [blocks, positions of a block, C], a view."""
    positions = z.shape[0] * z.shape[1]
    return z.view(math.gcd(positions, max(1, positions // BLOCK)), -1, z.shape[2])


def _suits_convolution(z: Tensor) -> bool:
    positions = z.shape[0] * z.shape[1]
    return (
        z.dtype == torch.float32
        and z.shape[2] > 1  # one channel is channels-last and is not
        and positions >= FEWEST
        and positions % (IMAGES * COLUMNS) == 0
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def _as_images(z: Tensor, pieces: int) -> tuple[Tensor, ...]:
    """Pieces of a map as channels-last images [IMAGES, C, .., COLUMNS], views."""
    return z.view(pieces, IMAGES, -1, COLUMNS, z.shape[2]).permute(0, 1, 4, 2, 3).unbind()


def _outers_of_blocks(a: Tensor, b: Tensor) -> Tensor:
    """Σ a bᵀ over each block, [blocks, Ca, Cb], as gradients of 1×1 kernels."""
    units = a.shape[0] * a.shape[1] // (IMAGES * COLUMNS)
    pieces = math.gcd(units, max(1, units * IMAGES * COLUMNS // LONG_BLOCK))
    kernel = a.new_empty(a.shape[2], b.shape[2], 1, 1)
    one, none = [1, 1], [0, 0]
    sums = [
        torch.ops.aten.convolution_backward(
            gradient, images, kernel, None, one, none, one, False, none, 1, [False, True, False]
        )[1].flatten(1)
        for gradient, images in zip(_as_images(a, pieces), _as_images(b, pieces), strict=True)
    ]
    return torch.stack(sums)


def differentiable_gradients(
    y: Tensor, gradient: Tensor, inputs: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of y's inputs by automatic differentiation, to be differentiated again.

    gradient: that of y, which was computed from the inputs by stock modules; None where one is
    not needed.
    """
    wanted = [x for x, needs in zip(inputs, needed, strict=True) if needs and x is not None]
    found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True))
    return [next(found) if needs else None for needs in needed]


def as_rows(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H·W, C], contiguous: a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def as_map(rows: Tensor, like: Tensor) -> Tensor:
    """Undo `as_rows`: a map of the height and width of `like`."""
    return rows.view(len(rows), *like.shape[2:], -1).permute(0, 3, 1, 2)
