"""PyTorch's own files: a `torch.export` program, and what AOTInductor compiles it to.

A program is one .pt2 file that takes any batch size and runs without this library. AOTInductor
makes a shared library for this kind of machine, in one .pt2 package.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dots.common.errors import UserError
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


def _compile(package: Package, path: Path) -> None:
    """Compile the layer list; the description is in the metadata of the package, under "dots".

    Raises UserError, with the compiler's first line, where it does not build.
    """
    metadata = {KEY: package.description.to_text()}
    try:
        torch._inductor.aoti_compile_and_package(
            program_of(package),
            package_path=str(path),
            inductor_configs={"aot_inductor.metadata": metadata},
        )
    except UserError:
        raise
    except Exception as error:  # compilers fail in any way
        line = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"AOTInductor of PyTorch {torch.__version__} does not build here "
            f"({type(error).__name__}: {line}): it needs a C++ compiler"
        ) from error


def _load_compiled(path: Path) -> Logits:
    """The compiled network."""
    network = torch._inductor.aoti_load_package(str(path))
    return lambda images: network(images.contiguous())


def _answers_of_compiled(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] from the file; the first image alone, the others together."""
    package = torch._inductor.aoti_load_package(str(path))
    description = Description.from_text(package.get_metadata()[KEY], repr(str(path)))
    images = inputs(
        files, description.info
    ).contiguous()  # it takes the strides that it was made for
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    with torch.no_grad():
        return torch.softmax(torch.cat([package(part) for part in parts]), dim=1)


AOTI = Target(
    "aoti",
    ".aoti.pt2",
    (),
    "",
    _compile,
    _answers_of_compiled,
    load=_load_compiled,
    choices=frozenset({"half"}),
)
