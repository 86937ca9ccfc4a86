"""MobileNet (Howard et al. 2017), width 1."""

from __future__ import annotations

from torch import nn

from dots.networks.reference.layers import Classifier, conv_norm

BLOCKS = (
    # output channels, stride of the depthwise convolution
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *(((512, 1),) * 5),
    (1024, 2),
    (1024, 1),
)


class MobileNet(nn.Sequential):
    """Thirteen blocks of a depthwise 3×3 and a 1×1 convolution, a norm and ReLU after each."""

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        width = 32
        layers: list[nn.Module] = [*conv_norm(image_channels, width, 3, 1 if small else 2)]
        layers.append(nn.ReLU())
        for channels, stride in BLOCKS:
            layers += [*conv_norm(width, width, 3, stride, groups=width), nn.ReLU()]
            layers += [*conv_norm(width, channels), nn.ReLU()]
            width = channels
        super().__init__(*layers, Classifier(width, classes))
