"""A `torch.export` program: one .pt2 file, any batch size, runs without this library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dots.export.description import KEY, Description
from dots.export.images import inputs
from dots.export.interpret import LayerNetwork
from dots.export.package import Package
from dots.export.target import Reader, Target

DESCRIPTION = f"{KEY}.json"


def write(package: Package, path: Path) -> None:
    """Write the layer list as a program; the description is its extra file "dots.json"."""
    network = LayerNetwork(package.layers, package.tensors).eval()
    example = torch.zeros(2, *package.layers.input)
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path, extra_files={DESCRIPTION: package.description.to_text()})


def answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] from the file; the first image alone, the others together."""
    extra = {DESCRIPTION: ""}
    network = torch.export.load(path, extra_files=extra).module()
    description = Description.from_text(extra[DESCRIPTION], repr(str(path)))
    images = inputs(files, description.info)
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    with torch.no_grad():
        return torch.softmax(torch.cat([network(part) for part in parts]), dim=1)


TARGET = Target("torch", ".pt2", (), "", write, answers)
