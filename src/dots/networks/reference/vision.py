"""Reference networks that torchvision defines, with any image channels and small images."""

from __future__ import annotations

from torch import nn


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
