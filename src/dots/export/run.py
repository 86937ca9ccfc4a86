"""Exporting a run: write, load again, compare on real images, and only then call it done."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.common.plugins import find_outside
from dots.export import folders, hub, onnx, programs, torch_program
from dots.export.form import Form
from dots.export.images import comparison_files, inputs
from dots.export.package import Package, read_package
from dots.export.run_images import read_run_images
from dots.export.target import Reader, Target
from dots.export.verify import Comparison, Loss, compare, loss
from dots.runs.predict import image_files
from dots.space.search_space import SearchSpace

Compared = TypeVar("Compared", Comparison, Loss)
_BATCH = 64

TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            onnx.TARGET,
            torch_program.TARGET,
            torch_program.AOTI,
            programs.CODE,
            folders.SAFETENSORS,
            hub.TIMM,
            hub.HUB,
            programs.JAX,
            programs.MINDSPORE,
            programs.JITTOR,
        )
    }
)


@dataclass(frozen=True)
class Exported:
    """Where an export lies, and how it compared."""

    path: Path
    comparison: Comparison | Loss


def export_run(
    run: Path,
    to: str | Target,
    *,
    out: Path | None = None,
    images: Sequence[Path] = (),
    python: str | None = None,
    form: Form | None = None,
    data: str | None = None,
    space: SearchSpace | None = None,
) -> Exported:
    """Export the network of a run; see `dots.export.target.Target` for what is written.

    `to` is a name of TARGETS, that of an installed target, or one of your own; `space` is that of
    the cell, where it is neither ours nor installed. `out` defaults to a place in the run's
    folder `export`. It is compared on `images` (files and folders), or on the sample images that
    the run kept. `python` is the interpreter that runs an exported program, by default this one.

    `form` chooses precision and sizes, where the target has them. One of less precision is compared
    on test images of the run's data (`data` says where they have moved to), and need not be the
    same; int8 is calibrated on its training images.

    Raises UserError where the target is unknown, needs what is not installed, `out` exists, or
    the export does not answer as the network does: then nothing is left.
    """
    target = find_target(to)
    _check_installed(target, python)
    form = form or Form()
    form.check(target.name, target.choices)
    place = out or run / "export" / default_name(target, form)
    package = replace(read_package(run, space), form=form)
    if place.exists():
        raise UserError(f"{str(place)!r} exists: remove it, or choose another place with --out")
    info = package.trained.info
    if not form.exact:
        return Exported(place, _write_lossy(target, package, place, run, images, data))

    reader = Reader(python or sys.executable)
    with comparison_files(run, images, info) as files:
        expected = torch.softmax(package.logits(inputs(files, info)), dim=1)

        def check(part: Path) -> Comparison:
            if package.form.any_size:
                _check_other_size(target, package, part)
            return compare(expected, target.answers(part, files, reader))

        return Exported(place, _write(target, package, place, check))


def find_target(to: str | Target) -> Target:
    """The target of a name, or the one that is handed over. Raises UserError for neither."""
    return TARGETS[to] if isinstance(to, str) and to in TARGETS else _outside(to)


def everything(out: Path | None = None) -> Iterator[tuple[str, Form, Path | None]]:
    """Every target in every precision that it has, and the place of each in the folder `out`."""
    for name, target in TARGETS.items():
        for form in (Form(), Form(half=True), Form(int8=True)):
            if form.suffix.removeprefix("-") in target.choices | {""}:
                yield name, form, None if out is None else out / default_name(target, form)


def _check_other_size(target: Target, package: Package, part: Path) -> None:
    """Images of twice the side, of noise. Raises UserError where the traced steps hold at one size
    alone, as those of odd maps do, which are padded on one side."""
    assert target.load is not None
    channels, height, width = package.layers.input
    shape = (package.form.batch or 2, channels, 2 * height, 2 * width)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected, network = package.logits(images), target.load(part)
    try:
        compare(torch.softmax(expected, 1), torch.softmax(network(images), 1))
    except Exception as error:  # how runtimes refuse sizes that do not fit
        raise UserError(
            f"--any-size: this network holds at {height} pixels a side alone, where maps have odd "
            "sides; one of a multiple of 4 pixels takes other sizes"
        ) from error


def default_name(target: Target, form: Form) -> str:
    """What an export is called in the run's folder `export`."""
    if target.suffix:
        return f"network{form.suffix}{target.suffix}"
    return target.name


def _write_lossy(
    target: Target,
    package: Package,
    place: Path,
    run: Path,
    files: Sequence[Path],
    data: str | None,
) -> Loss:
    """Write a form of less precision, and see what it lost on test images, or on given files.

    Where the run's data cannot be had, half precision is compared on the samples that it kept.
    """
    info = package.trained.info
    labels: Tensor | None = None
    if files and not package.form.int8:
        images = inputs(image_files(files), info)
    else:
        try:
            own = read_run_images(run, info, data)
            images, labels = own.test, own.labels
            package = replace(package, calibration=own.training)
        except UserError as error:
            if package.form.int8:
                raise UserError(
                    f"--int8 calibrates on the run's training images: {error}"
                ) from None
            with comparison_files(run, (), info) as samples:
                images = inputs(samples, info)

    parts = torch.split(images, _BATCH)
    expected = torch.cat([package.logits(some) for some in parts])

    @torch.no_grad()
    def check(written: Path) -> Loss:
        assert target.load is not None
        network = target.load(written)
        found = torch.cat([network(some) for some in parts])
        return loss(torch.softmax(expected, 1), torch.softmax(found, 1), labels)

    return _write(target, package, place, check)


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
    target: Target, package: Package, place: Path, check: Callable[[Path], Compared]
) -> Compared:
    """Write to a place beside `place`, check what lies there, and only then move it."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=".export-", dir=place.parent))
    except OSError as error:
        raise UserError(f"cannot write {str(place)!r}: {error}") from None
    try:
        part = folder / place.name
        target.write(package, part)
        comparison = check(part)
        os.replace(part, place)
    except OSError as error:
        raise UserError(f"cannot write {str(place)!r}: {error}") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
    return comparison
