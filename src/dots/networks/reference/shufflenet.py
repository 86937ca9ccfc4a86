"""ShuffleNet (Zhang et al. 2018), 2×, three groups."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks.kernels.depthwise import averageable
from dots.networks.reference.layers import Classifier, conv_norm

GROUPS = 3
STEM = 48
STAGES = ((480, 4), (960, 8), (1920, 4))
"""Output channels and units of a stage; the first unit halves the resolution."""


class ShuffleUnit(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1; added to the input.

    With stride 2 it is concatenated with the pooled input instead. The first 1×1 convolution
    of the network is not grouped, its input being narrow.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, *, first: bool) -> None:
        super().__init__()
        self.stride = stride
        inner = channels // 4
        outer = channels - channels_in if stride == 2 else channels
        self.shrink = nn.Sequential(
            *conv_norm(channels_in, inner, groups=1 if first else GROUPS), nn.ReLU()
        )
        self.expand = nn.Sequential(
            *conv_norm(inner, inner, 3, stride, groups=inner),
            *conv_norm(inner, outer, groups=GROUPS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, ⌈H/stride⌉, ⌈W/stride⌉]."""
        y = self.expand(_shuffle(self.shrink(x)))
        if self.stride == 1:
            return F.relu(x + y)
        return F.relu(torch.cat([F.avg_pool2d(averageable(x), 3, 2, 1), y], dim=1))


def _shuffle(x: Tensor) -> Tensor:
    """Spread every group's channels over all groups."""
    return F.channel_shuffle(x, GROUPS)


class ShuffleNet(nn.Sequential):
    """Three stages of shuffle units after a 3×3 convolution and a pooling."""

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        layers: list[nn.Module] = [*conv_norm(image_channels, STEM, 3, 1 if small else 2)]
        layers.append(nn.ReLU())
        if not small:
            layers.append(nn.MaxPool2d(3, 2, 1))
        width = STEM
        for channels, units in STAGES:
            for unit in range(units):
                first = width == STEM
                layers.append(ShuffleUnit(width, channels, 1 if unit else 2, first=first))
                width = channels
        super().__init__(*layers, Classifier(width, classes))
