"""Exporting a run: write, load again, compare on real images, and only then call it done."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType

import torch

from dots.common.errors import UserError
from dots.common.plugins import find_outside
from dots.export import folders, hub, onnx, port_targets, python_code, torch_program
from dots.export.images import comparison_files, inputs
from dots.export.package import Package, read_package
from dots.export.target import Reader, Target
from dots.export.verify import Comparison, compare
from dots.space.search_space import SearchSpace

TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            onnx.TARGET,
            torch_program.TARGET,
            python_code.TARGET,
            folders.SAFETENSORS,
            hub.TIMM,
            hub.HUB,
            port_targets.JAX,
            port_targets.MINDSPORE,
            port_targets.JITTOR,
        )
    }
)


@dataclass(frozen=True)
class Exported:
    """Where an export lies, and how it compared."""

    path: Path
    comparison: Comparison


def export_run(
    run: Path,
    to: str | Target,
    *,
    out: Path | None = None,
    images: Sequence[Path] = (),
    python: str | None = None,
    space: SearchSpace | None = None,
) -> Exported:
    """Export the network of a run; see `dots.export.target.Target` for what is written.

    `to` is a name of TARGETS, that of an installed target, or one of your own; `space` is that of
    the cell, where it is neither ours nor installed. `out` defaults to a place in the run's
    folder `export`. It is compared on `images` (files and folders), or on the sample images that
    the run kept. `python` is the interpreter that runs an exported program, by default this one.

    Raises UserError where the target is unknown, needs what is not installed, `out` exists, or
    the export does not answer as the network does: then nothing is left.
    """
    target = TARGETS[to] if isinstance(to, str) and to in TARGETS else _outside(to)
    _check_installed(target, python)
    package = read_package(run, space)
    place = out or run / "export" / (f"network{target.suffix}" if target.suffix else target.name)
    if place.exists():
        raise UserError(f"{str(place)!r} exists: remove it, or choose another place with --out")
    with comparison_files(run, images, package.trained.info) as files:
        comparison = _write(target, package, place, files, Reader(python or sys.executable))
    return Exported(place, comparison)


def _outside(to: object) -> Target:
    found = find_outside("export", to, TARGETS).value if isinstance(to, str) else to
    if not isinstance(found, Target):
        what = to if isinstance(to, str) else type(to).__name__
        raise UserError(f"{what} is no export: make it a dots.export.target.Target")
    return found


def _check_installed(target: Target, python: str | None) -> None:
    if target.program and python is not None:
        return
    missing = [name for name in target.modules if find_spec(name) is None]
    if missing:
        ours = target.name in TARGETS
        wanted = f"dots-nas[{target.extra}]" if ours else target.extra
        raise UserError(
            f"--to {target.name} needs {' and '.join(missing)}: "
            f"pip install '{wanted}'"
            + (", or give --python of an environment that has it" if target.program else "")
        )


def _write(
    target: Target, package: Package, place: Path, files: Sequence[Path], reader: Reader
) -> Comparison:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=".export-", dir=place.parent))
    except OSError as error:
        raise UserError(f"cannot write {str(place)!r}: {error}") from None
    try:
        part = folder / place.name
        expected = torch.softmax(package.logits(inputs(files, package.trained.info)), dim=1)
        target.write(package, part)
        comparison = compare(expected, target.answers(part, files, reader))
        os.replace(part, place)
    except OSError as error:
        raise UserError(f"cannot write {str(place)!r}: {error}") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
    return comparison
