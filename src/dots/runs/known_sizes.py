"""sizes.json: what published cells and reference networks would cost on the data of a run.

Nothing of this is trained. Counting takes a good many seconds, so it is done when it is asked
for, and reports read the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dots import zoo
from dots.common.errors import UserError
from dots.common.files import write_json
from dots.common.records import DATA, SIZES, DataRecord, KnownSize, KnownSizes
from dots.networks.body import Shape, stem_for
from dots.networks.reference import REFERENCES
from dots.networks.specification import CellNetworkSpec, NetworkSpec, ReferenceNetworkSpec
from dots.recipe import Recipe
from dots.runs.directory import RunDirectory


def write_sizes(path: Path) -> Path:
    """Count all known networks for the run directory `path`, and return the file written.

    Cells are put into the skeleton, the number of cells and the channels that the run trains
    with, as `dots train NAME` does by the same recipe. What cannot be built for these images is
    left out. Raises UserError where the run has no data.json that can be read.
    """
    run = RunDirectory.read(path)
    data = DataRecord.read(path)
    classes, channels, size = len(data.classes), data.channels, data.image_size
    if not classes or not channels or not size:
        raise UserError(f"{str(path / DATA)!r} does not describe images")
    networks = []
    for kind, name, network_spec in _known(run.recipe, classes, channels, size):
        try:
            cost = network_spec.cost(size)
        except UserError:  # images too small for it
            continue
        numbers = {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}
        networks.append(KnownSize(name=name, kind=kind, **numbers))
    sizes = KnownSizes(version=1, image_size=size, networks=networks)
    write_json(path / SIZES, sizes.to_json())
    return path / SIZES


def _known(
    recipe: Recipe, classes: int, channels: int, size: int
) -> Iterator[tuple[Literal["cell", "reference"], str, NetworkSpec]]:
    train = recipe.train
    stem = stem_for(train.stem, size)
    shape = Shape(train.cells, train.channels, channels, classes, stem=stem)
    for entry in zoo.entries():
        yield "cell", entry.name, CellNetworkSpec(entry.genotype, shape)
    for name in REFERENCES:
        yield "reference", name, ReferenceNetworkSpec(name, classes, channels, size)
