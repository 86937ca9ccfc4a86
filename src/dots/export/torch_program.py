"""A `torch.export` program: one .pt2 file, any batch size, runs without this library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dots.export.description import KEY, Description
from dots.export.images import inputs
from dots.export.package import Package
from dots.export.target import Logits, Reader, Target

DESCRIPTION = f"{KEY}.json"


def write(package: Package, path: Path) -> None:
    """Write the layer list as a program; the description is its extra file "dots.json"."""
    extra = {DESCRIPTION: package.description.to_text()}
    torch.export.save(program_of(package), path, extra_files=extra)


def program_of(package: Package) -> torch.export.ExportedProgram:
    """The layer list as a program."""
    form = package.form
    example = form.example(package.layers.input)
    return torch.export.export(package.module(), (example,), dynamic_shapes=form.dynamic_shapes())


def load(path: Path) -> Logits:
    """The program as a function."""
    return torch.export.load(path).module()


def answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] from the file; the first image alone, the others together."""
    extra = {DESCRIPTION: ""}
    network = torch.export.load(path, extra_files=extra).module()
    description = Description.from_text(extra[DESCRIPTION], repr(str(path)))
    images = inputs(files, description.info)
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    with torch.no_grad():
        return torch.softmax(torch.cat([network(part) for part in parts]), dim=1)


TARGET = Target("torch", ".pt2", (), "", write, answers, load=load, choices=frozenset({"half"}))
