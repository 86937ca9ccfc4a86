"""A node's features, as the operations on its outgoing edges take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.common.lazy import lazy
from dots.networks.kernels.depthwise import average_pool
from dots.networks.kernels.node_sum import (
    Normalised,
    Term,
    combine,
    normalised,
    pointwise_sum,
)
from dots.networks.kernels.normed_sum import Measured, Moments


class Parts(NamedTuple):
    """An operation's output before its last linear step, norm(pointwise(features))."""

    features: Tensor  # [B, C_in, H, W]
    pointwise: Tensor | None  # [C_out, C_in, 1, 1]
    norm: nn.BatchNorm2d | None
    moments: Moments | None = None  # of the features, where they are known

    def weighted(self, weight: Tensor | None) -> Term:
        """The summand of a node that is `weight` times this output."""
        return Term(self.features, weight, self.pointwise, self.norm, self.moments)


class Source:
    """A node's features `x` [B, C, H, W] with what its outgoing edges share, computed once.

    Or those of several sources side by side, as a cell returns them.
    """

    def __init__(self, x: Tensor | Sequence[Source], *, fast: bool = True) -> None:
        self._given = x
        self.fast = fast
        self._pooled: dict[tuple[str, int], Tensor] = {}
        self._normalised: dict[tuple[str, int, float], Normalised] = {}
        self._split: dict[int, tuple[Source, Source]] = {}

    @lazy
    def x(self) -> Tensor:
        """The features."""
        if isinstance(self._given, Tensor):
            return self._given
        return torch.cat([part.x for part in self._given], dim=1)

    @lazy
    def relu(self) -> Tensor:
        """ReLU(x), the first step of every convolution."""
        if isinstance(self._given, Tensor) or not self.fast:
            return F.relu(self.x)
        # Within the cell most have been rectified already, and x may not be needed at all.
        return torch.cat([part.relu for part in self._given], dim=1)

    def rectified_product(self, pointwise: Tensor) -> Measured:
        """conv1x1(ReLU(x), pointwise), of the parts one by one: their concatenation is not needed.

        pointwise: [C_out, C, 1, 1] -> [B, C_out, H, W].
        """
        if isinstance(self._given, Tensor) or not self.fast:
            return pointwise_sum([self.relu], pointwise)
        return pointwise_sum([part.relu for part in self._given], pointwise)

    def pooled(self, kind: str, stride: int) -> Tensor:
        """3×3 pooling, "max" or "avg", with padding 1, which the average does not count."""
        key = (kind, stride)
        if key in self._pooled:
            return self._pooled[key]
        if kind == "max":
            pooled = F.max_pool2d(self.x, 3, stride, 1)
        else:
            pooled = average_pool(self.x, stride, fast=self.fast)
        if self.fast:  # the plain path shares nothing
            self._pooled[key] = pooled
        return pooled

    def normalised_pool(self, kind: str, stride: int, eps: float) -> Normalised:
        """`pooled`, normalised over the batch: the same for all edges."""
        key = (kind, stride, eps)
        if key not in self._normalised:
            self._normalised[key] = normalised(self.pooled(kind, stride), eps)
        return self._normalised[key]

    @lazy
    def halves(self) -> tuple[Tensor, Tensor]:
        """What the two convolutions of a FactorizedReduce see: every other pixel of ReLU(x).

        Even rows and columns, and odd ones; where a size is odd, the latter are padded.
        """
        return _halves(self.relu)

    def split(self, channels: int) -> tuple[Source, Source]:
        """The first channels and the others, as sources that edges with partial channels share."""
        if channels in self._split:
            return self._split[channels]
        first, others = self.x.tensor_split((channels,), dim=1)
        parts = Source(first, fast=self.fast), Source(others, fast=self.fast)
        if self.fast:
            self._split[channels] = parts
        return parts


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    halves: tuple[Tensor, Tensor] = _Halves.apply(x)
    return halves


class _Halves(torch.autograd.Function):
    """With a gradient of its own: that of slices passes over maps of the full size five times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.size = x.shape[2:]
        height, width = x.shape[2:]
        odd = F.pad(x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))
        as_it_is = x.device.type != "cpu" and x.is_contiguous()
        layout = torch.contiguous_format if as_it_is else torch.channels_last
        even = x[:, :, ::2, ::2].contiguous(memory_format=layout)
        return even, odd.contiguous(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        even, odd = gradients
        height, width = ctx.size
        rows = even.new_zeros(even.shape[0], height, width, even.shape[1])
        x = rows.permute(0, 3, 1, 2)
        x[:, :, ::2, ::2] = even
        x[:, :, 1::2, 1::2] = odd[:, :, : height // 2, : width // 2]
        return x


def complete(parts: Parts, *, fast: bool = True) -> Tensor:
    """Take the last linear step: norm(pointwise(features)), [B, C_out, H', W']."""
    if parts.pointwise is None and parts.norm is None:
        return parts.features
    return combine([parts.weighted(None)], fast=fast)
