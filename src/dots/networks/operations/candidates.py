"""The candidate operations, and what several of them share.

Every operation but Zero ends in a linear step: a 1×1 convolution, a batch norm, both, or
neither. An operation therefore returns `Parts`, that last step not yet taken, so that a node
can take the last steps of all its edges at once (see `dots.networks.kernels.node_sum`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks.kernels.blocks import Block, chain, chainable
from dots.networks.kernels.depthwise import depthwise
from dots.networks.kernels.node_sum import (
    convolve_pixels,
    foldable,
    normed_pointwise,
)
from dots.networks.kernels.triton import chain as triton_chain
from dots.networks.operations.source import Parts, Source, _halves


class Zero(nn.Module):
    """No connection: contributes nothing, whatever its weight."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, source: Source) -> None:
        return None

    def zeros(self, source: Source) -> Tensor:
        """The value of a node that has no other edge."""
        return torch.zeros_like(source.x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """Standard normal noise instead of the input (the space S4 of RobustDARTS)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, source: Source) -> Parts:
        like = source.x[:, :, :: self.stride, :: self.stride]
        # Not randn_like: its draws depend on how the features lie in memory.
        return Parts(torch.randn(like.shape, dtype=like.dtype, device=like.device), None, None)


class Pool(nn.Module):
    """3×3 max or average pooling; in a search followed by a batch norm without parameters."""

    def __init__(self, kind: str, channels: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.kind = kind
        self.stride = stride
        self.norm = nn.BatchNorm2d(channels, affine=False) if norm else None

    def forward(self, source: Source) -> Parts:
        norm, pooled = self.norm, source.pooled(self.kind, self.stride)
        if norm is None or not (source.fast and norm.training and foldable(pooled, norm)):
            return Parts(pooled, None, norm)
        shared = source.normalised_pool(self.kind, self.stride, norm.eps)
        shared.update(norm)
        return Parts(shared.features, None, None)


class Identity(nn.Module):
    """The input itself: a skip connection at stride 1."""

    def forward(self, source: Source) -> Parts:
        return Parts(source.x, None, None)


class FactorizedReduce(nn.Module):
    """Halves the resolution: ReLU, two 1×1 convolutions at stride 2, the second one pixel on.

    An odd size is rounded up: the shifted convolution reads zeros beyond the border. Some
    skeletons other than that of DARTS leave out the ReLU.
    """

    def __init__(self, channels_in: int, channels: int, affine: bool, *, relu: bool = True) -> None:
        super().__init__()
        self.relu = relu
        first = channels // 2
        self.even = nn.Conv2d(channels_in, first, 1, bias=False)
        self.odd = nn.Conv2d(channels_in, channels - first, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, source: Source) -> Parts:
        even, odd = source.halves if self.relu else _halves(source.x)
        halves = (even, self.even.weight), (odd, self.odd.weight)
        features = torch.cat([convolve_pixels(x, weight) for x, weight in halves], dim=1)
        return Parts(features, None, self.norm)


class ReluConvNorm(nn.Module):
    """ReLU, k×k convolution, batch norm: NAS-Bench-201's convolution and all preprocessing."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int, affine: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, source: Source) -> Parts:
        if self.conv.kernel_size == (1, 1) and self.conv.stride == (1, 1):
            if source.fast and self.conv.in_channels > self.conv.out_channels:
                features, moments = source.rectified_product(self.conv.weight)
                return Parts(features, None, self.norm, moments)
            return Parts(source.relu, self.conv.weight, self.norm)
        return Parts(self._convolved(source.relu), None, self.norm)

    def _convolved(self, x: Tensor) -> Tensor:
        """The convolution; a 1×1 one at a stride takes only the pixels that it reads.

        With PyTorch 2.14 on AVX2, oneDNN's backward pass of that one, channels last and fewer
        than 8 of them, writes beyond the end of its memory.
        """
        if self.conv.kernel_size == (1, 1) and torch.is_grad_enabled():
            down, right = self.conv.stride
            return F.conv2d(x[..., ::down, ::right], self.conv.weight)
        features: Tensor = self.conv(x)
        return features


class DepthwiseBlock(nn.Module):
    """Depthwise k×k convolution (stride, dilation), 1×1 convolution, batch norm."""

    def __init__(
        self, channels: int, kernel: int, stride: int, dilation: int, affine: bool
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def as_block(self) -> Block:
        """The convolutions, without the norm."""
        conv = self.depthwise
        return Block(conv.weight, self.pointwise.weight, conv.stride[0], conv.dilation[0])

    def forward(self, x: Tensor, fast: bool) -> Parts:
        """`x` [B, C, H, W] is already rectified."""
        if fast:
            conv = self.depthwise
            features = depthwise(
                x,
                conv.weight,
                stride=conv.stride[0],
                padding=int(conv.padding[0]),
                dilation=conv.dilation[0],
            )
        else:
            features = self.depthwise(x)
        return Parts(features, self.pointwise.weight, self.norm)


def _depthwise_blocks(source: Source, steps: Sequence[DepthwiseBlock]) -> Parts:
    """ReLU and a depthwise block, again and again: at once where there are kernels for it."""
    blocks, norms = [step.as_block() for step in steps], [step.norm for step in steps]
    if source.fast and triton_chain.chainable(source.x, blocks, norms):
        return Parts(triton_chain.chain(source.x, blocks, norms), None, None)
    x = source.relu
    if source.fast and chainable(x, blocks, norms):
        features, moments = chain(x, blocks, norms[:-1])
        return Parts(features, None, norms[-1], moments)
    for step in steps[:-1]:
        z, pointwise, norm, _ = step(x, source.fast)
        x = normed_pointwise(z, pointwise, norm, relu=True, fast=source.fast)
    parts: Parts = steps[-1](x, source.fast)
    return parts


class DilConv(nn.Module):
    """ReLU, then one depthwise block with dilation 2."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.block = DepthwiseBlock(channels, kernel, stride, 2, affine)

    def forward(self, source: Source) -> Parts:
        return _depthwise_blocks(source, [self.block])


class SepConv(nn.Module):
    """ReLU and a depthwise block, twice; the stride is in the first."""

    def __init__(
        self, channels: int, kernel: int, stride: int, affine: bool, dilation: int = 1
    ) -> None:
        super().__init__()
        self.first = DepthwiseBlock(channels, kernel, stride, dilation, affine)
        self.second = DepthwiseBlock(channels, kernel, 1, dilation, affine)

    def forward(self, source: Source) -> Parts:
        return _depthwise_blocks(source, [self.first, self.second])


class OperationStyle(NamedTuple):
    """How a space's operations are built: in a search or in a derived network.

    `affine`: batch norms have a scale and a shift (derived networks). `pool_norm`: pooling is
    followed by a batch norm (the DARTS space during the search).
    """

    affine: bool
    pool_norm: bool
