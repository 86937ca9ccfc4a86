"""What an export target is: how it is written, and how what was written answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dots.export.package import Package

Logits = Callable[[Tensor], Tensor]
"""Logits [B, classes] of normalised images [B, C, H, W]."""


@dataclass(frozen=True)
class Reader:
    """How an export is loaded again: with `python` where it is a program of its own."""

    python: str


@dataclass(frozen=True)
class Target:
    """One way out.

    `suffix` is that of a file, or empty for a folder. `modules` must be installed to write and
    to check it, and `extra` brings them (an extra of ours; of an export from outside, what pip
    installs); a `program` runs with its own interpreter, so there
    they may be elsewhere. `write(package, path)` writes; `answers(path, files, reader)` loads
    again and returns probabilities [N, classes], everything from the file to the class
    included. `load(path)` is what a target that runs in this process gives, to be measured.
    `choices` are the fields of `dots.export.form.Form` that it has.
    """

    name: str
    suffix: str
    modules: tuple[str, ...]
    extra: str
    write: Callable[[Package, Path], None]
    answers: Callable[[Path, Sequence[Path], Reader], Tensor]
    program: bool = False
    load: Callable[[Path], Logits] | None = None
    choices: frozenset[str] = frozenset()
