"""Putting the page together and writing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from dots.common.files import write_text
from dots.common.records import REPORT
from dots.report.alternatives import others
from dots.report.annealing import entropy_chart, panels, temperature_chart
from dots.report.close_calls import undecided
from dots.report.confusion import confusion_view
from dots.report.curves import stage_curves
from dots.report.drawing.svg import cell_svg
from dots.report.graph import choices_of
from dots.report.headline import stage_rows, tiles
from dots.report.pictures import pictures
from dots.report.reading import FOUND, Run, read_run
from dots.report.rendering import render
from dots.report.replay import replay
from dots.report.reproduce import command, environment_table, missing_files, settings_tables
from dots.report.retained import retained_tables
from dots.report.sizes import sizes
from dots.report.truth import truth
from dots.report.verdict import worth
from dots.report.wording import cell_name, kind_name, visible
from dots.space.genotype import Genotype


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


_WORDS = {
    "space": "space {}",
    "strategy": "{} operation search",
    "retain": "{} retention",
    "preset": "preset {}",
    "seed": "seed {}",
}


def write_report(run: Path) -> Path:
    """Write `report.html` into the run directory, atomically, and return its path.

    Only the files of the directory are read; what a partial run lacks, the page says. Raises
    UserError where `run` is no run directory.
    """
    page = run / REPORT
    write_text(page, report_html(read_run(run)))
    return page


def report_html(run: Run) -> str:
    """The page for a run."""
    return render(
        "report.html.j2",
        title=f"DOTS: {visible(run.name)}",
        subtitle=_subtitle(run),
        tiles=tiles(run),
        missing=missing_files(run),
        broken=run.broken,
        said=run.notices,
        notices=run.data.notices if run.data else (),
        stages=stage_rows(run),
        worth=worth(run),
        sizes=sizes(run),
        truth=truth(run),
        drawings=drawings(run),
        tables=retained_tables(run),
        undecided=undecided(run),
        choice=choices_of(run).words,
        panels=panels(run),
        temperature=temperature_chart(run),
        entropy=entropy_chart(run),
        others=others(run),
        replay=replay(run),
        curves=stage_curves(run),
        pictures=pictures(run),
        confusion=confusion_view(run),
        command=command(run),
        settings=settings_tables(run),
        environment=environment_table(run),
    )


def _subtitle(run: Run) -> str:
    parts = []
    if run.data is not None and run.data.name:
        classes = f"{len(run.data.classes)} classes" if run.data.classes else ""
        size = (
            f"{run.data.image_size} × {run.data.image_size} pixels" if run.data.image_size else ""
        )
        counts = ""
        if run.data.train_images and run.data.test_images:
            counts = f"{run.data.train_images} training and {run.data.test_images} test images"
        details = ", ".join(part for part in (classes, size, counts) if part)
        parts.append(visible(run.data.name) + (f" ({details})" if details else ""))
    for key, words in _WORDS.items():
        value = run.setting(key)
        if isinstance(value, str | int):
            parts.append(words.format(visible(str(value))))
    return " · ".join(parts)
