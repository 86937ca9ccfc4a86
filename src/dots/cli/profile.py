"""dots profile: how long operations take on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dots.cli import options as o
from dots.cli.grouped import ListsInstalled
from dots.common.errors import UserError
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.networks.body import Shape
    from dots.recipe import Recipe


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(cls=ListsInstalled)(profile)


def profile(
    data: o.Data = None,
    out: Annotated[Path, typer.Option(help="The file for the table.")] = Path("latency.json"),
    preset: o.Preset = None,
    recipe: o.RecipeFile = None,
    set_: o.Set = None,
    space: o.Space = None,
    image_size: o.ImageSize = None,
    image_channels: Annotated[
        int | None, typer.Option(help="Channels of an image, without DATA (3).")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Classes, without DATA (10).")] = None,
    images: Annotated[int, typer.Option(help="Images that go through at once.")] = 1,
    repeats: Annotated[int, typer.Option(help="Measurements of each operation.")] = 20,
    device: o.Device = None,
    no_download: o.NoDownload = False,
    debug: o.Debug = False,
) -> None:
    """Measure the latency of every operation in the networks that a recipe trains on DATA.

    For --latency-table. Without DATA give the size of the images. Do nothing else on the
    machine meanwhile.
    """
    from dots.nas.budget.latency import measure_latencies
    from dots.space.search_space import named_space
    from dots.training.processes import find_device

    _check(images=images, repeats=repeats)
    given = o.hand_over(None, space)
    made = o.make_recipe(
        preset=preset,
        file=recipe,
        overrides=set_,
        shortcuts={
            "space": given.space.name if given.space else space,
            "data.image_size": image_size,
        },
        given=given,
    )
    if data is None:
        channels = 3 if image_channels is None else image_channels
        shape, side = _given(made, image_size, channels, 10 if classes is None else classes)
    else:
        if (image_channels, classes) != (None, None):
            raise UserError("--image-channels and --classes are for profiles without DATA")
        shape, side = _of_data(made, data, no_download)
    table = measure_latencies(
        named_space(made.space, made.nodes, given.space),
        shape,
        side,
        device=find_device(device),
        batch=images,
        repeats=repeats,
    )
    table.save(out)
    print(f"{'operation':<16}{'channels':>9}{'stride':>8}{'pixels':>8}{'ms':>10}")
    for (op, place), nanoseconds in table.operations.items():
        print(
            f"{op:<16}{place.channels:>9}{place.stride:>8}{place.size:>8}{nanoseconds / 1e6:>10.4f}"
        )
    print(f"the rest of the network: {table.rest / 1e6:.4f} ms")
    print(plain(f"latency table: {out}"))


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if not 1 <= number <= 100_000:
            raise UserError(f"--{name} {number}: give a number from 1 to 100000")


def _given(recipe: Recipe, side: int | None, channels: int, classes: int) -> tuple[Shape, int]:
    """The training network for images of a stated size."""
    from dots.networks.body import Shape, stem_for

    if side is None:
        raise UserError("no DATA and no --image-size: give one of them")
    if not (1 <= channels <= 65_536 and 1 <= classes <= 10**6):
        raise UserError("--image-channels and --classes must be from 1 up")
    train = recipe.train
    stem = stem_for(train.stem, side)
    return Shape(train.cells, train.channels, channels, classes, stem=stem), side


def _of_data(recipe: Recipe, data: str, no_download: bool) -> tuple[Shape, int]:
    """The training network for a data set."""
    from dots.data import open_data
    from dots.nas.plan import stage_shape

    opened = open_data(data, recipe.data, recipe.seed, splits_folder=None, download=not no_download)
    return stage_shape(recipe.train, opened.info), opened.info.image_size
