"""The cells of a run, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from dots.draw import cell_svg
from dots.genotype import Genotype
from dots.report.wording import cell_name, kind_name


@dataclass(frozen=True)
class Drawing:
    """The cells of a genotype: kind and picture of each."""

    name: str
    cells: tuple[tuple[str, Markup], ...]


def drawings(genotypes: Mapping[str, Genotype]) -> list[Drawing]:
    """A drawing of every genotype, in the order given."""
    return [
        Drawing(cell_name(key), draw(cell_name(key), genotype))
        for key, genotype in genotypes.items()
    ]


def draw(name: str, genotype: Genotype) -> tuple[tuple[str, Markup], ...]:
    """Each cell of the genotype as a picture; `cell_svg` escapes what it writes."""
    result = []
    for kind, cell in genotype.cells.items():
        title = f"{name}, {kind_name(kind)} cell"
        result.append((kind, Markup(cell_svg(cell, genotype.inputs, title))))
    return tuple(result)
