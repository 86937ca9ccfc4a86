"""sizes.json: what published cells and reference networks would cost on the data of a run.

Nothing of this is trained. Counting takes a good many seconds, so it is done when it is asked
for, and reports read the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dots import zoo
from dots.common.errors import UserError
from dots.common.files import read_json, write_json
from dots.networks.body import Shape
from dots.networks.reference import REFERENCES
from dots.networks.specification import CellTrainee, ReferenceTrainee, Trainee
from dots.recipe import Recipe
from dots.runs.directory import RunDirectory

SIZES = "sizes.json"
VERSION = 1


def write_sizes(path: Path) -> Path:
    """Count all known networks for the run directory `path`, and return the file written.

    Cells are put into the skeleton, the number of cells and the channels that the run trains
    with, as `dots train NAME` does by the same recipe. What cannot be built for these images is
    left out. Raises UserError where the run has no data.json that can be read.
    """
    run = RunDirectory.read(path)
    data = read_json(path / "data.json", what="the data of a run (did it begin?)")
    try:
        classes, channels = len(data["classes"]), int(data["channels"])
        size = int(data["image_size"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{str(path / 'data.json')!r} does not describe images") from None
    networks = []
    for kind, name, trainee in _known(run.recipe, classes, channels, size):
        try:
            cost = trainee.cost(size)
        except UserError:  # images too small for it
            continue
        numbers = {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}
        networks.append({"name": name, "kind": kind, **numbers})
    write_json(path / SIZES, {"version": VERSION, "image_size": size, "networks": networks})
    return path / SIZES


def _known(
    recipe: Recipe, classes: int, channels: int, size: int
) -> Iterator[tuple[str, str, Trainee]]:
    train = recipe.train
    shape = Shape(train.cells, train.channels, channels, classes, stem=train.stem)
    for entry in zoo.entries():
        yield "cell", entry.name, CellTrainee(entry.genotype, shape)
    for name in REFERENCES:
        yield "reference", name, ReferenceTrainee(name, classes, channels, size)
