"""The layers and weights as plain files: what ports read, and what any program can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dots.common.errors import UserError
from dots.common.files import read_json, write_bytes, write_json
from dots.common.records import NETWORK
from dots.export.description import Description
from dots.export.images import inputs
from dots.export.interpret import LayerNetwork
from dots.export.layers import LayerList
from dots.export.package import Package
from dots.export.target import Reader, Target

WEIGHTS = "weights.safetensors"


def write(package: Package, path: Path) -> None:
    """Write a folder: network.json (description and layers) and weights.safetensors."""
    path.mkdir()
    content = {"description": package.description.to_json(), "layers": package.layers.to_json()}
    write_json(path / NETWORK, content)
    metadata = {"format": "pt", "dots": package.description.to_text()}
    write_bytes(path / WEIGHTS, save(dict(package.tensors), metadata))


def read(path: Path) -> tuple[LayerNetwork, Description]:
    """The network in such a folder, in evaluation mode. Raises UserError where it is damaged."""
    where = repr(str(path / NETWORK))
    content = read_json(path / NETWORK, what="the layers of a network")
    if not isinstance(content, dict):
        raise UserError(f"{where} is no list of layers")
    layers = LayerList.from_json(content.get("layers"), where)
    description = Description.from_json(content.get("description"), where)
    try:
        network = LayerNetwork(layers, load((path / WEIGHTS).read_bytes()))
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{str(path / WEIGHTS)!r} is damaged: {error}") from None
    return network.eval(), description


def answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] from the folder."""
    network, description = read(path)
    with torch.no_grad():
        return torch.softmax(network(inputs(files, description.info)), dim=1)


SAFETENSORS = Target("safetensors", "", (), "", write, answers, load=lambda path: read(path)[0])
