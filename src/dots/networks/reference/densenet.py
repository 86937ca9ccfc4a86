"""DenseNet-BC (Huang et al. 2017) for small images: 190 layers, growth 40."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dots.networks.reference.layers import Classifier

GROWTH = 40
LAYERS = (190 - 4) // 6
"""Dense layers in each of three blocks, each of two convolutions."""


class DenseLayer(nn.Module):
    """Norm, ReLU, 1×1 to four times the growth, norm, ReLU, 3×3; joined to the input."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        inner = 4 * GROWTH
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.ReLU(),
            nn.Conv2d(channels_in, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, GROWTH, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C + growth, H, W]."""
        return torch.cat([x, self.body(x)], dim=1)


class DenseNetBC(nn.Sequential):
    """Three dense blocks; between them the channels and the resolution are halved."""

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        width = 2 * GROWTH
        layers: list[nn.Module]
        if small:
            layers = [nn.Conv2d(image_channels, width, 3, padding=1, bias=False)]
        else:
            first = nn.Conv2d(image_channels, width, 7, 2, 3, bias=False)
            layers = [first, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        for block in range(3):
            if block:
                layers += [nn.BatchNorm2d(width), nn.ReLU()]
                layers += [nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
                width //= 2
            for _ in range(LAYERS):
                layers.append(DenseLayer(width))
                width += GROWTH
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*layers, Classifier(width, classes))
