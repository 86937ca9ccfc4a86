"""What every export is made from: layers, weights, description; read from a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.common.records import RESULT
from dots.export.description import Description
from dots.export.form import Form, InHalf
from dots.export.interpret import LayerNetwork
from dots.export.layers import LayerList
from dots.export.names import CellNames, cell_names
from dots.export.record import record
from dots.networks.derived import DerivedNetwork
from dots.networks.saved import TrainedModel
from dots.networks.skeletons import OwnNetwork
from dots.runs.directory import RunDirectory
from dots.runs.predict import load
from dots.runs.result import OUTCOME
from dots.space.search_space import SearchSpace

FIGURES = (*OUTCOME, "search_seconds", "train_seconds", "seed")


@dataclass(frozen=True)
class Package:
    """A trained network as exports take it, in float32 on the CPU."""

    trained: TrainedModel
    description: Description
    form: Form = field(default_factory=Form)
    calibration: Tensor | None = None
    """Normalised training images [N, C, H, W], for a form that needs them."""

    @cached_property
    def layers(self) -> LayerList:
        """The network as plain layers, for its own image size."""
        info = self.trained.info
        shape = (info.channels, info.image_size, info.image_size)
        network = self.trained.network
        return record(network, shape, names_of(network))

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors of the layers by name, in row-major order."""
        everything = self.trained.network.state_dict()
        return {name: everything[name].contiguous() for name in self.layers.tensors}

    def module(self) -> nn.Module:
        """The layers as a PyTorch module, in evaluation mode, in the form that was chosen."""
        network = LayerNetwork(self.layers, self.tensors).eval()
        return InHalf(network).eval() if self.form.half else network

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """What the network itself says of normalised images: [B, classes]."""
        logits: Tensor = self.trained(images)
        return logits.float()


def names_of(network: nn.Module) -> CellNames:
    """What the cells of a network are; none in one that is not made of cells."""
    match network:
        case DerivedNetwork():
            return cell_names(network.genotype, [plan.kind for plan in network.body.plans])
        case OwnNetwork():
            return cell_names(network.genotype, [plan.kind for plan in network.plans])
    return CellNames(0, {}, {})


def read_package(run: Path, space: SearchSpace | None = None) -> Package:
    """The trained network of a run; `space` as in `dots.load`. Raises UserError as there."""
    directory = RunDirectory.read(run)
    trained = load(run, space=space)
    figures: dict[str, Any] = {}
    if directory.has(RESULT):
        result = directory.read_json(RESULT)
        if not isinstance(result, dict):
            raise UserError(f"{str(run / 'result.json')!r} is damaged")
        figures = {name: result[name] for name in FIGURES if result.get(name) is not None}
    return Package(trained, Description(trained.info.name, trained.info, figures))
