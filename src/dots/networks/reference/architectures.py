"""The reference networks: definitions of our own, and those of torchvision for any images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks.kernels.depthwise import averageable


def conv_norm(
    channels_in: int, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size at stride 1, and its batch norm."""
    conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class Classifier(nn.Module):
    """Global average pooling and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of features [B, C, H, W]."""
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


PLAIN_WIDTHS = (32, 64, 128, 128)


class Plain(nn.Sequential):
    """Four 3×3 convolutions, a norm and ReLU after each, max pooling between them.

    Images that are not `small` begin with a convolution of stride 2.
    """

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        layers: list[nn.Module] = []
        before = image_channels
        for index, width in enumerate(PLAIN_WIDTHS):
            stride = 1 if small or index else 2
            layers += [*conv_norm(before, width, 3, stride), nn.ReLU()]
            if index < len(PLAIN_WIDTHS) - 1:
                layers.append(nn.MaxPool2d(2))
            before = width
        super().__init__(*layers, Classifier(before, classes))


MOBILENET_BLOCKS = (
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
        for channels, stride in MOBILENET_BLOCKS:
            layers += [*conv_norm(width, width, 3, stride, groups=width), nn.ReLU()]
            layers += [*conv_norm(width, channels), nn.ReLU()]
            width = channels
        super().__init__(*layers, Classifier(width, classes))


SHUFFLENET_GROUPS = 3
SHUFFLENET_STEM = 48
SHUFFLENET_STAGES = ((480, 4), (960, 8), (1920, 4))
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
            *conv_norm(channels_in, inner, groups=1 if first else SHUFFLENET_GROUPS), nn.ReLU()
        )
        self.expand = nn.Sequential(
            *conv_norm(inner, inner, 3, stride, groups=inner),
            *conv_norm(inner, outer, groups=SHUFFLENET_GROUPS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, ⌈H/stride⌉, ⌈W/stride⌉]."""
        y = self.expand(_shuffle(self.shrink(x)))
        if self.stride == 1:
            return F.relu(x + y)
        return F.relu(torch.cat([F.avg_pool2d(averageable(x), 3, 2, 1), y], dim=1))


def _shuffle(x: Tensor) -> Tensor:
    """Spread every group's channels over all groups."""
    return F.channel_shuffle(x, SHUFFLENET_GROUPS)


class ShuffleNet(nn.Sequential):
    """Three stages of shuffle units after a 3×3 convolution and a pooling."""

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        layers: list[nn.Module] = [
            *conv_norm(image_channels, SHUFFLENET_STEM, 3, 1 if small else 2)
        ]
        layers.append(nn.ReLU())
        if not small:
            layers.append(nn.MaxPool2d(3, 2, 1))
        width = SHUFFLENET_STEM
        for channels, units in SHUFFLENET_STAGES:
            for unit in range(units):
                first = width == SHUFFLENET_STEM
                layers.append(ShuffleUnit(width, channels, 1 if unit else 2, first=first))
                width = channels
        super().__init__(*layers, Classifier(width, classes))


PROXYLESS_STEM, PROXYLESS_LAST = 40, 1728
PROXYLESS_STAGES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    # For each block output channels, kernel, expansion. Blocks that the search made an
    # identity are absent. The first block of all stages but the first has stride 2.
    ((24, 3, 1),),
    ((32, 5, 3),),
    ((56, 7, 3), (56, 3, 3)),
    ((112, 7, 6), (112, 5, 3), (128, 5, 6), (128, 3, 3), (128, 5, 3)),
    ((256, 7, 6), (256, 7, 6), (256, 7, 6), (256, 5, 6), (432, 7, 6)),
)


class InvertedResidual(nn.Module):
    """1×1 to more channels, depthwise k×k, 1×1 back; added to the input where shapes agree."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, expansion: int, stride: int
    ) -> None:
        super().__init__()
        inner = channels_in * expansion
        widen = [*conv_norm(channels_in, inner), nn.ReLU6()] if expansion > 1 else []
        self.body = nn.Sequential(
            *widen,
            *conv_norm(inner, inner, kernel, stride, groups=inner),
            nn.ReLU6(),
            *conv_norm(inner, channels),
        )
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, ⌈H/stride⌉, ⌈W/stride⌉]."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class ProxylessNAS(nn.Sequential):
    """Five stages of inverted residuals."""

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        layers: list[nn.Module] = [*conv_norm(image_channels, PROXYLESS_STEM, 3, 1 if small else 2)]
        layers.append(nn.ReLU6())
        width = PROXYLESS_STEM
        for index, blocks in enumerate(PROXYLESS_STAGES):
            for place, (channels, kernel, expansion) in enumerate(blocks):
                stride = 2 if index and not place else 1
                layers.append(InvertedResidual(width, channels, kernel, expansion, stride))
                width = channels
        layers += [*conv_norm(width, PROXYLESS_LAST), nn.ReLU6()]
        super().__init__(*layers, Classifier(PROXYLESS_LAST, classes))


DENSENET_GROWTH = 40
DENSENET_LAYERS = (190 - 4) // 6
"""Dense layers in each of three blocks, each of two convolutions."""


class DenseLayer(nn.Module):
    """Norm, ReLU, 1×1 to four times the growth, norm, ReLU, 3×3; joined to the input."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        inner = 4 * DENSENET_GROWTH
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.ReLU(),
            nn.Conv2d(channels_in, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, DENSENET_GROWTH, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C + growth, H, W]."""
        return torch.cat([x, self.body(x)], dim=1)


class DenseNetBC(nn.Sequential):
    """Three dense blocks; between them the channels and the resolution are halved."""

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        width = 2 * DENSENET_GROWTH
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
            for _ in range(DENSENET_LAYERS):
                layers.append(DenseLayer(width))
                width += DENSENET_GROWTH
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*layers, Classifier(width, classes))


def inception(classes: int, image_channels: int, *, small: bool) -> nn.Module:
    """Inception v1 without its auxiliary heads."""
    from torchvision.models import GoogLeNet

    network: nn.Module = GoogLeNet(
        num_classes=classes, aux_logits=False, transform_input=False, init_weights=False
    )
    first = nn.Conv2d(image_channels, 64, 7, 1 if small else 2, 3, bias=False)
    network.get_submodule("conv1").add_module("conv", first)
    if small:
        network.add_module("maxpool1", nn.Identity())
    return network


def shufflenet_v2(classes: int, image_channels: int, *, small: bool) -> nn.Module:
    """ShuffleNet V2, 2×."""
    from torchvision.models import shufflenet_v2_x2_0

    network: nn.Module = shufflenet_v2_x2_0(weights=None, num_classes=classes)
    first = nn.Conv2d(image_channels, 24, 3, 1 if small else 2, 1, bias=False)
    network.get_submodule("conv1").add_module("0", first)
    if small:
        network.add_module("maxpool", nn.Identity())
    return network


def mnasnet(classes: int, image_channels: int, *, small: bool) -> nn.Module:
    """MnasNet-B1, 1×.

    Its batch norms average over thousands of steps as published, too long for a short
    training: they get PyTorch's usual momentum.
    """
    from torchvision.models import mnasnet1_0

    network: nn.Module = mnasnet1_0(weights=None, num_classes=classes)
    first = nn.Conv2d(image_channels, 32, 3, 1 if small else 2, 1, bias=False)
    network.get_submodule("layers").add_module("0", first)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return network
