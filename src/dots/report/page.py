"""Putting the page together and writing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dots.common.files import write_text
from dots.common.records import REPORT
from dots.report import wording
from dots.report.alternatives import alternatives, heading, shown
from dots.report.close_calls import close_calls
from dots.report.curves import entropy_chart, panels, stage_curves, temperature_chart
from dots.report.graph import choices_of
from dots.report.headline import stage_states, tiles
from dots.report.mistakes import confusion, pictures, shade
from dots.report.reading import FOUND, Run, read_run
from dots.report.replay import replay
from dots.report.reproduce import command, missing_files, settings_tables
from dots.report.retained import retained_tables
from dots.report.truth import truth
from dots.report.verdict import sizes, verdict
from dots.report.wording import cell_name, kind_name, visible
from dots.space.drawing.svg import cell_svg
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace


def drawings(run: Run) -> Iterator[tuple[str, tuple[tuple[str, Markup], ...]]]:
    """Name and drawings of every cell that the run knows, the found one first."""
    trained = {FOUND, *(run.result.baselines if run.result else ())}
    for key, genotype in run.genotypes.items():
        name = cell_name(key)
        if run.result is not None and key not in trained:
            name += " (not trained here)"
        yield name, draw(name, genotype)


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


def write_report(run: Path, space: SearchSpace | None = None) -> Path:
    """Write `report.html` into the run directory, atomically, and return its path.

    Only the files of the directory are read; what a partial run lacks, the page says. `space` is
    the run's, where that is neither ours nor installed. Raises UserError where `run` is no run
    directory.
    """
    page = run / REPORT
    write_text(page, report_html(read_run(run, space)))
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
        stages=stage_states(run),
        verdict=verdict(run),
        sizes=run.sizes,
        sizes_rows=sizes(run),
        truth=truth(run),
        truth_known=run.result is not None and run.result.truth is not None,
        drawings=list(drawings(run)),
        tables=retained_tables(run),
        close_calls=close_calls(run),
        choice=choices_of(run).words,
        panels=panels(run),
        temperature=temperature_chart(run),
        entropy=entropy_chart(run),
        alternatives=alternatives(run),
        replay=replay(run),
        curves=stage_curves(run),
        pictures=pictures(run),
        confusion=confusion(run),
        command=command(run),
        settings=settings_tables(run),
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


def render(template: str, **values: Any) -> str:
    """A template filled in; all values but Markup are escaped."""
    return _environment().get_template(template).render(version=_version(), **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Any] = {
        "kind": kind_name,
        "stage": wording.stage_name,
        "metric": heading,
        "cost": shown,
        "part": lambda count, total: wording.percent(count / total, 1) if total else "no images",
        "shade": shade,
        "mean_and_deviation": wording.mean_and_deviation,
    }
    plain = ("percent", "in_percent", "fixed", "amount", "duration", "points", "weight", "number")
    named = {name: getattr(wording, name) for name in (*plain, "visible", "operation")}
    environment.filters.update({**named, **filters})
    return environment


def _version() -> str:
    try:
        return version("dots-nas")
    except PackageNotFoundError:  # run from a source tree
        return ""
