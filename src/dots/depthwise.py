"""Depthwise convolution, the one hot kernel of the supernet."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def depthwise(x: Tensor, weight: Tensor, *, stride: int, padding: int, dilation: int) -> Tensor:
    """`conv2d` of each channel with its own k×k kernel.

    x: [B, C, H, W], weight: [C, 1, k, k].
    """
    return functional.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])
