"""A trained network on disk, and back: network.json and weights.safetensors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dots.common.errors import UserError, shown
from dots.common.files import read_json, write_bytes, write_json
from dots.common.records import NETWORK
from dots.data.info import DataInfo
from dots.networks.body import STEM_HALVINGS, Shape
from dots.networks.specification import (
    CellNetworkSpec,
    Network,
    ReferenceNetworkSpec,
    network_spec_of,
    skeleton_named,
)
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace

VERSION = 1
WEIGHTS = "weights.safetensors"


class TrainedModel(nn.Module):
    """A trained network with what it needs to be used: preprocessing and class names.

    Called on normalised images [B, C, H, W] it returns logits [B, classes]; `probabilities`
    takes images as they are (see `dots.data`), scaled to [0, 1].
    """

    def __init__(self, network: Network, info: DataInfo) -> None:
        super().__init__()
        self.network: nn.Module = network
        self.info = info
        self.register_buffer("mean", torch.tensor(info.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(info.std).view(1, -1, 1, 1), persistent=False)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    def _repr_html_(self) -> str:
        from dots.report.notebook import facts_html

        info, parameters = self.info, sum(p.numel() for p in self.network.parameters())
        named = [*info.classes[:10], *(["..."] if len(info.classes) > 10 else [])]
        rows = [
            ("Trained on", info.name),
            ("Classes", f"{len(info.classes)}: {', '.join(named)}"),
            ("Images", f"{info.channels} × {info.image_size} × {info.image_size}"),
            ("Parameters", f"{parameters:,}"),
        ]
        genotype = getattr(self.network, "genotype", None)
        return facts_html(rows, genotype if isinstance(genotype, Genotype) else None)

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, C, H, W], as the network wants them."""
        mean, std = self.mean, self.std
        assert isinstance(mean, Tensor)
        assert isinstance(std, Tensor)
        return (images - mean) / std

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities [B, classes] of images in [0, 1], [B, C, H, W]."""
        return torch.softmax(self(self.normalise(images)).float(), dim=1)


def save_network(
    folder: Path, network: Network, info: DataInfo, *, weights_name: str = WEIGHTS
) -> None:
    """Write network.json and weights.safetensors, without the auxiliary head."""
    from safetensors.torch import save

    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    content = save(weights)
    write_bytes(folder / weights_name, content)
    description = {
        "version": VERSION,
        **network_spec_of(network, len(info.classes), info.channels, info.image_size).to_json(),
        "data": info.to_json(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_json(folder / NETWORK, description)


def load_model(
    folder: Path, *, weights_name: str = WEIGHTS, space: SearchSpace | None = None
) -> TrainedModel:
    """The trained network of a run directory, in evaluation mode, on the CPU.

    `space` is that of its cell, where it is neither ours nor installed.

    Raises UserError where the files are missing or damaged, or do not belong together.
    """
    path = folder / NETWORK
    value = read_json(path, what="a trained network (did the run finish?)")
    network_spec, info = _parse(value, repr(str(path)), space)
    with torch.random.fork_rng([]):
        network = network_spec.build()
    _load_weights(network, folder / weights_name, value.get("sha256"))
    trained = TrainedModel(network, info)
    trained.eval()
    return trained


def _parse(
    value: Any, where: str, space: SearchSpace | None
) -> tuple[CellNetworkSpec | ReferenceNetworkSpec, DataInfo]:
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise UserError(f"{where} is not a network description of version {VERSION}")
    if "reference" in value:
        info = DataInfo.from_json(value.get("data"), where=f"{where}, data")
        name, classes = str(value["reference"]), len(info.classes)
        return ReferenceNetworkSpec(name, classes, info.channels, info.image_size), info
    genotype, shape, info = _parse_cell(value, where, space)
    return CellNetworkSpec(genotype, shape, skeleton_named(value, where)), info


def _parse_cell(
    value: dict[str, Any], where: str, space: SearchSpace | None
) -> tuple[Genotype, Shape, DataInfo]:
    shape = value.get("shape")
    if not isinstance(shape, dict) or set(shape) != set(Shape.__dataclass_fields__):
        raise UserError(f"{where}: the shape is not complete: {shown(shape)}")
    bounds = {"cells": 200, "channels": 4096, "image_channels": 65_536, "classes": 10**6}
    for name, most in bounds.items():
        number = shape[name]
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
            raise UserError(f"{where}: {name} cannot be {shown(number)}")
    if shape["stem"] not in STEM_HALVINGS or not isinstance(shape["head_norm"], bool):
        raise UserError(f"{where}: unknown stem or head")
    genotype = Genotype.from_json(value.get("genotype"), f"{where}, genotype", space)
    info = DataInfo.from_json(value.get("data"), where=f"{where}, data")
    if len(info.classes) != shape["classes"] or info.channels != shape["image_channels"]:
        raise UserError(f"{where}: the shape does not fit the data's classes and channels")
    return genotype, Shape(**shape), info


def _load_weights(network: nn.Module, path: Path, sha256: object) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"{str(path)!r} is damaged or of another network: train again")
        network.load_state_dict(load(content))
    except FileNotFoundError:
        raise UserError(f"no file {str(path)!r}: the weights of the network are missing") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{str(path)!r} is damaged: {error}") from None
    except RuntimeError:
        raise UserError(f"{str(path)!r} holds the weights of another network") from None
