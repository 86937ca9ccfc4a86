"""A plain network: what a search must at least beat."""

from __future__ import annotations

from torch import nn

from dots.networks.reference.layers import Classifier, conv_norm

WIDTHS = (32, 64, 128, 128)


class Plain(nn.Sequential):
    """Four 3×3 convolutions, a norm and ReLU after each, max pooling between them.

    Images that are not `small` begin with a convolution of stride 2.
    """

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        layers: list[nn.Module] = []
        before = image_channels
        for index, width in enumerate(WIDTHS):
            stride = 1 if small or index else 2
            layers += [*conv_norm(before, width, 3, stride), nn.ReLU()]
            if index < len(WIDTHS) - 1:
                layers.append(nn.MaxPool2d(2))
            before = width
        super().__init__(*layers, Classifier(before, classes))
