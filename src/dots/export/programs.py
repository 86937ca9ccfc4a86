"""Exported programs: one readable Python file for torch, and those for other frameworks."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.export import folders, pictures
from dots.export.class_text import Written, write_network
from dots.export.package import Package
from dots.export.target import Reader, Target

PROGRAM = "network.py"
SECONDS = 1800
"""A first start may compile for minutes."""


def answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] that the program in a folder prints for image files.

    It runs as a process of its own, with nothing of this library in reach but what is
    installed. Raises UserError, with the end of what it said, where it fails.
    """
    paths = "\n".join(str(file.resolve()) for file in files)
    try:
        done = subprocess.run(
            [reader.python, PROGRAM, "--json"],
            cwd=path,
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

    return Target(name, "", (name,), name, write, answers, program=True)


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


WEIGHTS = "weights.pt"


def _write_code(package: Package, path: Path) -> None:
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


CODE = Target("code", "", (), "", _write_code, answers, program=True)
