"""Networks without a cell that the paper compares with, trained by the same recipe.

Three come from torchvision, the rest are small definitions of our own. Weights are never
downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from dots.common.errors import UserError, did_you_mean, shown
from dots.networks.count import Cost, module_cost
from dots.networks.reference.architectures import (
    DenseNetBC,
    MobileNet,
    Plain,
    ProxylessNAS,
    ShuffleNet,
    inception,
    mnasnet,
    shufflenet_v2,
)

__all__ = [
    "REFERENCES",
    "Reference",
    "ReferenceNetwork",
    "build_reference",
    "find_reference",
    "reference_cost",
]

SMALL = 64
"""Images of fewer pixels a side than this keep their resolution through the stem."""


@dataclass(frozen=True)
class Reference:
    """A reference network: its paper, who defines it, the images it was made for, remarks.

    `build(classes, image_channels, small=...)` makes it, with new weights.
    """

    name: str
    paper: str
    source: Literal["torchvision", "dots"]
    build: Callable[..., nn.Module]
    image_size: int = 224
    notes: str = ""


REFERENCES: Mapping[str, Reference] = MappingProxyType(
    {
        reference.name: reference
        for reference in (
            Reference(
                "densenet_bc",
                "Densely connected convolutional networks (CVPR 2017)",
                "dots",
                DenseNetBC,
                32,
                "190 layers, 40 channels a layer.",
            ),
            Reference(
                "inception_v1",
                "Going deeper with convolutions (CVPR 2015)",
                "torchvision",
                inception,
                notes="torchvision's has batch norms, and 3×3 where the paper has 5×5.",
            ),
            Reference("mobilenet", "MobileNets (2017)", "dots", MobileNet),
            Reference(
                "shufflenet_v1",
                "ShuffleNet (CVPR 2018), 2×",
                "dots",
                ShuffleNet,
                notes="Three groups.",
            ),
            Reference(
                "shufflenet_v2", "ShuffleNet V2 (ECCV 2018), 2×", "torchvision", shufflenet_v2
            ),
            Reference(
                "mnasnet",
                "MnasNet (CVPR 2019)",
                "torchvision",
                mnasnet,
                notes="torchvision ships MnasNet-B1; MnasNet-92 is not shipped.",
            ),
            Reference("proxylessnas", "ProxylessNAS (ICLR 2019), GPU", "dots", ProxylessNAS),
            Reference(
                "plain",
                "none",
                "dots",
                Plain,
                32,
                "Four 3×3 convolutions: what a search must beat.",
            ),
        )
    }
)


class ReferenceNetwork(nn.Module):
    """A reference network with the interface that the training expects of a derived one."""

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.drop_path = 0.0
        """Set by the training, without effect: these networks have no paths to drop."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W]."""
        logits: Tensor = self.network(images)
        return logits

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and None for those of an auxiliary head: there is none."""
        return self(images), None


def find_reference(name: str) -> str | None:
    """The reference network called `name`; case, '-' and '_' do not matter. None: there is none."""
    wanted = name.strip().casefold().replace("-", "_").replace(" ", "_")
    return wanted if wanted in REFERENCES else None


def build_reference(
    name: str, classes: int, image_channels: int, image_size: int
) -> ReferenceNetwork:
    """The reference network `name` with new weights.

    For images below 64 pixels a side the stem does not reduce the resolution (the first
    convolution has stride 1, and there is no pooling after it); other images get the
    published stem. Raises UserError for an unknown name and for images below 8 pixels.
    """
    if name not in REFERENCES:
        raise UserError(f"no reference network {shown(name)}: {did_you_mean(name, REFERENCES)}")
    if image_size < 8:
        raise UserError(
            f"images of {image_size} pixels are too small for {name}: use --image-size 8 or more"
        )
    network = REFERENCES[name].build(classes, image_channels, small=image_size < SMALL)
    return ReferenceNetwork(name, network.to(memory_format=torch.channels_last))


def reference_cost(name: str, classes: int, image_channels: int, image_size: int) -> Cost:
    """Parameters and multiply-adds of a reference network; nothing is computed."""
    with torch.device("meta"):
        network = build_reference(name, classes, image_channels, image_size).eval()
        images = torch.empty(1, image_channels, image_size, image_size)
    return module_cost(network, images)
