"""dots count: what a network costs."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from dots.cli import options as o
from dots.cli.networks import named_network
from dots.common.errors import UserError

Network = Annotated[
    str, typer.Argument(help="A genotype file, a run, a zoo name, or a reference network.")
]
Skeleton = Annotated[str, typer.Option(help="The network around the cell: cifar or imagenet.")]
OwnSkeleton = Annotated[
    bool, typer.Option("--own-skeleton", help="A zoo cell in the skeleton it was published in.")
]
Channels = Annotated[
    int | None, typer.Option(help="Initial channels (36, or 48; as published in its own).")
]
Layers = Annotated[int | None, typer.Option(help="Cells (20, or 14; as published in its own).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Kind = Literal["cifar", "imagenet"]
_IMAGES: dict[Kind, tuple[int, int]] = {"cifar": (10, 32), "imagenet": (1000, 224)}
"""Classes and pixels a side."""
_CELLS: dict[Kind, tuple[int, int]] = {"cifar": (20, 36), "imagenet": (14, 48)}
"""Cells and initial channels."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(count)


def count(
    genotype: Network,
    skeleton: Skeleton = "cifar",
    own_skeleton: OwnSkeleton = False,
    channels: Channels = None,
    layers: Layers = None,
    classes: Annotated[int | None, typer.Option(help="Classes (10, or 1000).")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side (32, or 224).")] = None,
    image_channels: Annotated[int, typer.Option(help="Channels of an image.")] = 3,
    space: o.OwnSpace = None,
    as_json: AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Count parameters (no auxiliary head) and multiply-adds (convolutions, linear layers)."""
    from dots.networks.body import Shape
    from dots.networks.specification import make_network_spec

    kind = _kind(skeleton)
    labels, size = _IMAGES[kind]
    labels = _checked("--classes", classes, labels, 10**6)
    size = _checked("--image-size", image_size, size, 4096)
    _checked("--image-channels", image_channels, 3, 65_536)
    named = named_network(genotype, own_skeleton, o.own(space))
    if named.reference is not None:
        _refuse(named.reference, channels, layers)
    cells, width = _published(genotype, kind) if own_skeleton else _CELLS[kind]
    cells = _checked("--layers", layers, cells, 200)
    width = _checked("--channels", channels, width, 4096)
    shape = Shape(cells, width, image_channels, labels, stem=kind)
    network_spec = make_network_spec(named.reference, named.genotype, named.skeleton, shape, size)
    cost = network_spec.cost(size)
    if as_json:
        print(json.dumps({"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}))
        return
    print(f"parameters     {cost.parameters:>13,}")
    print(f"multiply-adds  {cost.multiply_adds:>13,}")


def _kind(skeleton: str) -> Kind:
    for kind in _IMAGES:
        if skeleton == kind:
            return kind
    raise UserError(f"--skeleton {skeleton}: choose cifar or imagenet")


def _refuse(reference: str, channels: int | None, layers: int | None) -> None:
    """A reference network comes in one size; no option may be ignored silently."""
    for name, value in (("--channels", channels), ("--layers", layers)):
        if value is not None:
            raise UserError(f"{name}: {reference} has one size, without cells: leave it out")


def _published(name: str, kind: Kind) -> tuple[int, int]:
    """Cells and initial channels of a zoo cell in its own skeleton, for such images."""
    from dots import zoo
    from dots.zoo.sizes import published_sizes

    data = "imagenet" if kind == "imagenet" else "cifar10"
    for size in published_sizes(zoo.load(name).name):
        if size.data == data:
            return size.cells, size.channels
    return _CELLS[kind]


def _checked(name: str, given: int | None, default: int, most: int) -> int:
    number = default if given is None else given
    if not 1 <= number <= most:
        raise UserError(f"{name} {number}: give a number from 1 to {most}")
    return number
