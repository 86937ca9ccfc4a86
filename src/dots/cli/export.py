"""dots export, dots predict: a trained network where it is needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dots.cli import options as o
from dots.cli.grouped import ListsInstalled
from dots.common.errors import UserError
from dots.common.plugins import is_reference, load_reference
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.export.form import Form
    from dots.export.run import Exported
    from dots.export.target import Target
    from dots.runs.predict import Classifier
    from dots.space.search_space import SearchSpace

    Row = tuple[Target, Form, Exported]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(predict)
    app.command(cls=ListsInstalled)(export)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    to: Annotated[
        str,
        typer.Option(
            help="onnx, torch, aoti, code, safetensors, timm, hub, jax, mindspore, jittor, or all; "
            "or your own, FILE.py:NAME.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file or folder; default: a place in RUN/export.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Images (files, folders) to compare on; default: the samples that RUN kept. "
            "Can be repeated."
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="The interpreter that checks code, jax, mindspore, jittor."),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="onnx, torch, aoti: compute in float16.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="onnx: 8-bit integers, calibrated on the training images."),
    ] = False,
    opset: Annotated[int | None, typer.Option(help="onnx: the opset.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="onnx: so many images at a time; default: any number.")
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="onnx: images of other sides too.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Where the run's data are now, for --int8 and --half."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Print how long an image takes on this machine.")
    ] = False,
    space: o.OwnSpace = None,
    debug: o.Debug = False,
) -> None:
    """Write the network of RUN for use elsewhere; done once it answers as the network does."""
    from dots.export import export_run
    from dots.export.form import Form
    from dots.export.run import everything, find_target

    form = Form(half=half, int8=int8, opset=opset, batch=batch, any_size=any_size)
    own = o.own_space(run, space)
    wanted: list[tuple[str | Target, Form, Path | None]]
    if to != "all":
        wanted = [(load_reference(to).value if is_reference(to) else to, form, out)]
    elif form != Form():
        raise UserError("--to all writes every form: leave out --half, --int8 and the like")
    else:
        wanted = list(everything(out))
    rows: list[Row] = []
    for chosen, form, place in wanted:
        target = find_target(chosen)
        try:
            done = export_run(
                run,
                target,
                out=place,
                images=images or [],
                python=python,
                form=form,
                data=data,
                space=own,
            )
        except UserError as error:
            if to != "all":
                raise
            print(plain(f"{target.name}{form.suffix}: {error}"))
            continue
        print(plain(f"{done.path}: {done.comparison}"))
        rows.append((target, form, done))
    if measure:
        _print_latencies(run, rows, own)


def _print_latencies(run: Path, rows: Sequence[Row], space: SearchSpace | None) -> None:
    """The time of an image in PyTorch and in each export, with sizes and what was lost."""
    from rich.table import Table

    from dots.cli.tables import print_table
    from dots.export.package import read_package
    from dots.export.run_images import example
    from dots.export.verify import milliseconds

    network = read_package(run, space)
    info, own = network.trained.info, milliseconds(network.logits, example(network.trained.info))
    table = Table("export", "images", "MB", "ms", "largest difference", "points lost")
    table.add_row("PyTorch", "1", "", f"{own:.2f}", "", "")
    for target, form, done in rows:
        batch = form.batch or 1
        took = "-"
        if target.load is not None:
            took = f"{milliseconds(target.load(done.path), example(info, batch)):.2f}"
        files = [done.path, *done.path.rglob("*")]
        size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        table.add_row(
            f"{target.name}{form.suffix}",
            str(batch),
            f"{size:.2f}",
            took,
            f"{done.comparison.largest:.1e}",
            "" if done.comparison.lost is None else f"{100 * done.comparison.lost:.2f}",
        )
    print_table(table)


def predict(
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK", help="A run directory, or an exported .onnx file.")
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE]...",
            show_default=False,
            help="Image files and folders; without any, or for '-', lines of the standard input.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to print for each image.")] = 5,
    batch: Annotated[int, typer.Option(help="Images that are classified at once.")] = 64,
    device: o.Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    space: o.OwnSpace = None,
    debug: o.Debug = False,
) -> None:
    """Classify images: a line for each, most probable class first."""
    from dots.runs import predict as classify

    for name, value in (("--top", top), ("--batch", batch)):
        if value < 1:
            raise UserError(f"{name} {value}: give a number from 1 up")
    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other")
    files = classify.image_files(_named(images or []))
    classifier = _classifier(network, device, space)
    predictions = classify.predict(classifier, files, top=top, batch=batch)
    if as_json:
        print(classify.as_json(list(predictions)))
        return
    ranks = min(top, len(classifier.info.classes))
    for line in classify.csv_lines(predictions, ranks) if as_csv else predictions:
        print(plain(line), flush=True)


def _named(images: list[Path]) -> list[Path]:
    """The paths of the command line, those of the standard input in the place of '-'."""
    if not images and sys.stdin.isatty():
        raise UserError("no images: name files or folders, or pipe paths in, one a line")
    paths: list[Path] = []
    for image in images or [Path("-")]:
        if image == Path("-"):
            paths += [Path(line) for line in sys.stdin.read().splitlines() if line.strip()]
        else:
            paths.append(image)
    if not paths:
        raise UserError("no images: the standard input held no path")
    return paths


def _classifier(network: Path, device: str | None, space: str | None) -> Classifier:
    if network.suffix.lower() != ".onnx":
        from dots.runs.predict import RunClassifier

        return RunClassifier(network, device, o.own_space(network, space))
    if device not in (None, "cpu"):
        raise UserError(f"--device {device}: ONNX networks run on the CPU here")
    from dots.export.onnx import OnnxNetwork

    return OnnxNetwork(network)
