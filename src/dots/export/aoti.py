"""AOTInductor: a shared library compiled for this kind of machine, in one .pt2 package."""

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
from dots.export.torch_program import program_of


def write(package: Package, path: Path) -> None:
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


def load(path: Path) -> Logits:
    """The compiled network."""
    network = torch._inductor.aoti_load_package(str(path))
    return lambda images: network(images.contiguous())


def answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] from the file; the first image alone, the others together."""
    package = torch._inductor.aoti_load_package(str(path))
    description = Description.from_text(package.get_metadata()[KEY], repr(str(path)))
    images = inputs(
        files, description.info
    ).contiguous()  # it takes the strides that it was made for
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    with torch.no_grad():
        return torch.softmax(torch.cat([package(part) for part in parts]), dim=1)


TARGET = Target("aoti", ".aoti.pt2", (), "", write, answers, load=load, choices=frozenset({"half"}))
