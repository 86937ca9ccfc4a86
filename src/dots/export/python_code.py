"""The network as one readable Python file that needs only torch and the weights beside it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.export import pictures
from dots.export.class_text import Written, write_network
from dots.export.package import Package
from dots.export.programs import PROGRAM, answers_of_program, without_imports
from dots.export.target import Reader, Target

WEIGHTS = "weights.pt"


def write(package: Package, path: Path) -> None:
    """Write a folder: network.py, and weights.pt, which `torch.load(weights_only=True)` reads."""
    if package.trained.info.channels not in (1, 3):
        raise UserError(
            f"--to code reads pictures, which have 1 or 3 channels, not "
            f"{package.trained.info.channels}: choose another --to"
        )
    path.mkdir()
    written = write_network(package.layers)
    (path / PROGRAM).write_text(_program(package, written))
    weights = {new: package.tensors[old] for old, new in written.tensors.items()}
    torch.save(weights, path / WEIGHTS)


def _program(package: Package, written: Written) -> str:
    description = package.description
    channels, height, width = package.layers.input
    values = {
        "NAME": "".join(c if c.isprintable() and c not in '"\\' else " " for c in description.name),
        "IMAGES": f"[B, {channels}, {height}, {width}]",
        "COUNT": str(len(description.classes)),
        "CLASSES": _literal(list(description.classes)),
        "PREPROCESSING": _literal(description.preprocessing()),
        "NETWORK": written.text,
        "PICTURES": without_imports(inspect.getsource(pictures)),
    }
    text = (package_files("dots.export") / "templates/network.py.txt").read_text(encoding="utf-8")
    return re.sub("@([A-Z]+)@", lambda mark: values[mark[1]], text)


def _literal(value: list[str] | dict[str, Any]) -> str:
    """A Python literal, an entry a line where it is long."""
    if len(repr(value)) < 75:
        return repr(value)
    if isinstance(value, dict):
        rows = [f"    {key!r}: {entry!r},\n" for key, entry in value.items()]
        return "{\n" + "".join(rows) + "}"
    return "[\n" + "".join(f"    {entry!r},\n" for entry in value) + "]"


def answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] from the program in a process of its own."""
    return answers_of_program(path / PROGRAM, files, reader)


TARGET = Target("code", "", (), "", write, answers, program=True)
