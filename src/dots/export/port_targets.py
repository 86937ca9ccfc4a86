"""Other frameworks: the files of `folders` with a program that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path

from torch import Tensor

from dots.export import folders
from dots.export.package import Package
from dots.export.programs import PROGRAM, answers_of_program, without_imports
from dots.export.target import Reader, Target


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
