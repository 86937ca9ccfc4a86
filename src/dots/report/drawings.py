"""The cells of a run, drawn."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from dots.draw import cell_svg
from dots.genotype import Genotype
from dots.report.reading import FOUND, Run
from dots.report.wording import cell_name, kind_name


@dataclass(frozen=True)
class Drawing:
    """The cells of a genotype: kind and picture of each."""

    name: str
    cells: tuple[tuple[str, Markup], ...]


def drawings(run: Run) -> list[Drawing]:
    """A drawing of every cell that the run knows, the found one first."""
    trained = {FOUND, *(run.result.baselines if run.result else ())}
    result = []
    for key, genotype in run.genotypes.items():
        name = cell_name(key)
        if run.result is not None and key not in trained:
            name += " (not trained here)"
        result.append(Drawing(name, draw(name, genotype)))
    return result


def draw(name: str, genotype: Genotype) -> tuple[tuple[str, Markup], ...]:
    """Each cell of the genotype as a picture; `cell_svg` escapes what it writes."""
    result = []
    for kind, cell in genotype.cells.items():
        title = f"{name}, {kind_name(kind)} cell"
        result.append((kind, Markup(cell_svg(cell, genotype.inputs, title))))
    return tuple(result)
