"""What is trained from scratch: the network of a cell, or one that the paper compares with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dots.common.errors import UserError, shown
from dots.networks.body import Shape
from dots.networks.count import Cost, module_cost, network_cost
from dots.networks.derived import DerivedNetwork
from dots.networks.reference import ReferenceNetwork, build_reference, reference_cost
from dots.networks.skeletons import RULES, OwnNetwork
from dots.space.genotype import Genotype

Network = DerivedNetwork | OwnNetwork | ReferenceNetwork
DARTS = "darts"


@dataclass(frozen=True)
class CellNetworkSpec:
    """A cell's network, in the skeleton of the search or in one that cells were published in.

    `skeleton` is "darts" (which also stands for NAS-Bench-201's), "nasnet" or "enas".
    """

    genotype: Genotype
    shape: Shape
    skeleton: str = DARTS

    def build(self, *, auxiliary: bool = False, fast: bool = True) -> DerivedNetwork | OwnNetwork:
        """The network with new weights. Raises UserError where there can be none."""
        if self.skeleton == DARTS:
            return DerivedNetwork(self.genotype, self.shape, auxiliary=auxiliary, fast=fast)
        rules = RULES[self.skeleton]
        return OwnNetwork(self.genotype, rules, self.shape, auxiliary=auxiliary, fast=fast)

    def cost(self, image_size: int) -> Cost:
        """Parameters and multiply-adds without auxiliary head; nothing is computed.

        Raises UserError for images that are too small.
        """
        if self.skeleton == DARTS:
            return network_cost(self.genotype, self.shape, image_size)
        if self.shape.stem == "imagenet" and image_size < 3:
            raise UserError(
                f"images of {image_size} pixels are too small for the {self.skeleton} skeleton on "
                f"large images: use --image-size 3 or more"
            )
        with torch.device("meta"):
            network = self.build(fast=False).eval()
            image = torch.empty(1, self.shape.image_channels, image_size, image_size)
        return module_cost(network, image)

    def to_json(self) -> dict[str, Any]:
        """As network.json holds it."""
        own = {} if self.skeleton == DARTS else {"skeleton": self.skeleton}
        return {**own, "genotype": self.genotype.to_json(), "shape": asdict(self.shape)}


@dataclass(frozen=True)
class ReferenceNetworkSpec:
    """A reference network by name, for images of so many channels and pixels a side."""

    name: str
    classes: int
    image_channels: int
    image_size: int

    def build(self, *, auxiliary: bool = False, fast: bool = True) -> ReferenceNetwork:
        """The network with new weights; it has no auxiliary head and one kind of kernel."""
        return build_reference(self.name, self.classes, self.image_channels, self.image_size)

    def cost(self, image_size: int) -> Cost:
        """Parameters and multiply-adds; nothing is computed."""
        return reference_cost(self.name, self.classes, self.image_channels, image_size)

    def to_json(self) -> dict[str, Any]:
        """As network.json holds it; the rest is in its data."""
        return {"reference": self.name}


NetworkSpec = CellNetworkSpec | ReferenceNetworkSpec


def make_network_spec(
    reference: str | None, genotype: Genotype | None, skeleton: str, shape: Shape, image_size: int
) -> NetworkSpec:
    """The `reference` network, or where that is None the network of the genotype.

    Of the shape a reference network takes the classes and the channels of images alone.
    """
    if reference is not None:
        return ReferenceNetworkSpec(reference, shape.classes, shape.image_channels, image_size)
    assert genotype is not None
    return CellNetworkSpec(genotype, shape, skeleton)


def network_spec_of(
    network: Network, classes: int, image_channels: int, image_size: int
) -> NetworkSpec:
    """What `network` was built from."""
    match network:
        case DerivedNetwork():
            return CellNetworkSpec(network.genotype, network.shape)
        case OwnNetwork():
            return CellNetworkSpec(network.genotype, network.shape, network.rules.name)
        case ReferenceNetwork():
            return ReferenceNetworkSpec(network.name, classes, image_channels, image_size)


def skeleton_named(value: Mapping[str, Any], where: str) -> str:
    """The skeleton in a network.json. Raises UserError for an unknown one."""
    name = value.get("skeleton", DARTS)
    if name != DARTS and name not in RULES:
        raise UserError(f"{where}: unknown skeleton {shown(name)}: it is {', '.join(RULES)}")
    return str(name)
