"""dots check: looking at data before a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from dots.cli import options as o
from dots.common.errors import UserError
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.data.check import Facts, PartFacts, Twins

CORRUPT = 1  # the exit status where something is wrong with the data
_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(check)


def check(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", show_default=False, help="As for dots run.")
    ] = None,
    labels: o.Labels = None,
    images: o.Images = None,
    preset: o.Preset = None,
    image_size: o.ImageSize = None,
    set_: o.Set = None,
    device: o.Device = None,
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Do not measure time and memory.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    no_download: o.NoDownload = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Read all of DATA and tell what it is, what is wrong with it, and what a run would cost.

    The exit status is 1 where images cannot be read, or test images occur in training.
    """
    from dots.data.check import check as look
    from dots.data.sources.table import Columns

    source = o.data_of(data, labels)
    if source is None:
        raise UserError("no DATA: say what to look at, as in 'dots check my-images'")
    watcher = o.make_watcher(quiet or as_json)
    own = {"data.image_size": image_size, "data.images": o.folder_of(images)}
    asked = o.make_recipe(preset=preset, file=None, overrides=set_, shortcuts=own)
    facts = look(
        source,
        download=not no_download,
        progress=watcher.reading,
        columns=Columns.of(asked.data),
    )
    watcher.reading(0, 0)
    content = facts.to_json()
    if not as_json:
        print("\n".join(map(plain, _lines(facts))))
    if not no_estimate:
        from dots.runs.planning.forecast import forecast, suggested_preset
        from dots.training.processes import device_name, find_device

        place = find_device(device)
        recipe = asked
        if preset is None:
            suggested = suggested_preset(facts, place)
            recipe = o.make_recipe(
                preset=suggested, file=None, overrides=set_, shortcuts=own, say=False
            )
        cost = forecast(facts, recipe, place)
        content["forecast"] = cost.to_json()
        if not as_json:
            print(f"preset {cost.preset}, on {device_name(place)}:")
            print("\n".join(cost.lines()))
    if as_json:
        print(json.dumps(content))
    if not facts.sound:
        raise typer.Exit(CORRUPT)


def _lines(facts: Facts) -> Iterator[str]:
    yield f"{facts.name}: {len(facts.parts['train'].classes)} classes"
    for name, part in facts.parts.items():
        yield from _part_lines(name, part)
    if "test" not in facts.parts:
        yield "no test part: one is drawn at random"
    yield from _twin_lines("test images that also occur in training", facts.leaks)
    yield from _twin_lines("test images that look like a training image", facts.alike)
    yield from _twin_lines("training images that occur before", facts.copies)
    yield from _twin_lines("of these with another label", facts.contradictions)
    yield from facts.notices
    yield f"suggested: {facts.image_size} pixels a side, {facts.channels} channels"
    for suggestion in facts.suggestions:
        yield f"suggested: {suggestion}"


def _part_lines(name: str, part: PartFacts) -> Iterator[str]:
    counts = sorted(part.classes.items(), key=lambda entry: -entry[1])
    yield f"{name}: {part.images} images"
    few = counts if len(counts) <= 2 * _SHOWN else [*counts[:_SHOWN], *counts[-_SHOWN:]]
    named = ", ".join(f"{label!r} {count}" for label, count in few)
    yield f"  per class, most first: {named}"
    for side, (least, middle, most) in part.sizes.items():
        yield f"  {side}: {least} to {most}, median {middle}"
    yield "  modes: " + ", ".join(f"{mode} {count}" for mode, count in part.modes.items())
    yield f"  mean {_numbers(part.mean)}, deviation {_numbers(part.std)} (of 1)"
    if part.corrupt:
        yield f"  {len(part.corrupt)} images cannot be read:"
        for problem in part.corrupt[:_SHOWN]:
            yield f"    {problem['where']}: {problem['reason']}"
        if len(part.corrupt) > _SHOWN:
            yield "    ... (--json names all)"


def _twin_lines(what: str, twins: Twins) -> Iterator[str]:
    if not twins.count:
        return
    yield f"{twins.count} {what}:"
    for ours, theirs in twins.examples[:_SHOWN]:
        yield f"    {ours} = {theirs}"


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
