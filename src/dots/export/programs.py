"""Exported programs: what they are made of, how they are run, and those for other frameworks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.export import folders
from dots.export.package import Package
from dots.export.target import Reader, Target

PROGRAM = "network.py"
SECONDS = 1800
"""A first start may compile for minutes."""


def answers_of_program(program: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] that a program prints for image files.

    It runs as a process of its own, with nothing of this library in reach but what is
    installed. Raises UserError, with the end of what it said, where it fails.
    """
    paths = "\n".join(str(file.resolve()) for file in files)
    try:
        done = subprocess.run(
            [reader.python, program.name, "--json"],
            cwd=program.parent,
            input=paths,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"the exported program did not run: {error}") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
        raise UserError(f"the exported program failed: {said[-1][:300]}")
    try:
        return torch.tensor(json.loads(lines[-1]))
    except (ValueError, TypeError):
        raise UserError(
            f"the exported program printed no probabilities: {lines[-1][:100]}"
        ) from None


def without_imports(source: str) -> str:
    """What a module defines, without its docstring and imports."""
    lines = source.splitlines()
    imports = [n for n, line in enumerate(lines) if line.startswith(("import ", "from "))]
    return "\n".join(lines[imports[-1] + 1 :]).strip("\n") + "\n"


def _target(name: str) -> Target:
    """The port to the framework `name`: the file ports/NAME_network.py and what it uses."""

    def write(package: Package, path: Path) -> None:
        folders.write(package, path)
        (path / PROGRAM).write_text(program(f"ports/{name}_network.py"), encoding="utf-8")

    return Target(name, "", (name,), name, write, _answers, program=True)


def _answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    return answers_of_program(path / PROGRAM, files, reader)


def program(name: str) -> str:
    """The text of a port, with what it takes from this library in the place of its import."""
    head, _, rest = _text(name).partition("from dots.export.pictures import main\n")
    _, _, body = rest.partition("from dots.export.ports.inputs import prepared\n")
    own = [without_imports(_text(part)) for part in ("pictures.py", "ports/inputs.py")]
    head = head.replace("import json\n", "import json\nimport sys\n", 1)
    head = head.replace("import Mapping, Sequence", "import Callable, Mapping, Sequence")
    head = head.replace("abc import Sequence", "abc import Callable, Sequence")
    known = ["import numpy as np", "from PIL import Image"]
    missing = [line for line in known if f"\n{line}\n" not in head]
    return "\n".join([head.rstrip(), *missing, "", *own, body])


def _text(name: str) -> str:
    return (package_files("dots.export") / name).read_text(encoding="utf-8")


JAX = _target("jax")
MINDSPORE = _target("mindspore")
JITTOR = _target("jittor")
