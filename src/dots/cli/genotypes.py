"""dots count: what a cell costs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dots.cli import options as o
from dots.errors import UserError

Skeleton = Annotated[str, typer.Option(help="The network around the cell: cifar or imagenet.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(count)


def count(
    genotype: Annotated[str, typer.Argument(help="A genotype file, a run, or a zoo name.")],
    skeleton: Skeleton = "cifar",
    channels: Annotated[int | None, typer.Option(help="Initial channels (36, or 48).")] = None,
    layers: Annotated[int | None, typer.Option(help="Cells (20, or 14).")] = None,
    classes: Annotated[int | None, typer.Option(help="Classes (10, or 1000).")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side (32, or 224).")] = None,
    image_channels: Annotated[int, typer.Option(help="Channels of an image.")] = 3,
    as_json: AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Count parameters (no auxiliary head) and multiply-adds (convolutions, linear layers)."""
    from dots import zoo as published
    from dots.cost import network_cost
    from dots.network import Shape

    defaults = {"cifar": (36, 20, 10, 32), "imagenet": (48, 14, 1000, 224)}
    if skeleton not in defaults:
        raise UserError(f"--skeleton {skeleton}: choose cifar or imagenet")
    given = (channels, layers, classes, image_size)
    numbers = [d if g is None else g for g, d in zip(given, defaults[skeleton], strict=True)]
    bounds = {"--channels": 4096, "--layers": 200, "--classes": 10**6, "--image-size": 4096}
    for (name, most), number in zip(bounds.items(), numbers, strict=True):
        _check(name, number, most)
    _check("--image-channels", image_channels, 65_536)
    width, cells, labels, size = numbers
    shape = Shape(cells, width, image_channels, labels, stem=skeleton)  # type: ignore[arg-type]  # checked above
    cost = network_cost(published.resolve(genotype), shape, size)
    if as_json:
        print(json.dumps({"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}))
        return
    print(f"parameters     {cost.parameters:>13,}")
    print(f"multiply-adds  {cost.multiply_adds:>13,}")


def _check(name: str, number: int, most: int) -> None:
    if not 1 <= number <= most:
        raise UserError(f"{name} {number}: give a number from 1 to {most}")
