"""Several runs on one page: their numbers, cells, costs and differing settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from dots.common.errors import UserError
from dots.common.files import write_text
from dots.report.charts.lines import Frame, Series, line_chart
from dots.report.charts.points import Dot, scatter_chart
from dots.report.page import draw, render
from dots.report.reading import FOUND, Run, read_run
from dots.report.reproduce import flat
from dots.report.verdict import trained_cells, trained_network, unit_of
from dots.report.wording import NONE, visible

NAME = "comparison.html"
_STYLES = {FOUND: 0, "random": 1, "darts-policy": 2, "given": 4, "reference": 5}
_SHAPES = {
    0: "circles are found cells",
    1: "squares random ones",
    2: "triangles those of the DARTS policy",
    3: "diamonds other cells",
    4: "triangles on their tips cells that were given (of the zoo, for example)",
    5: "bars reference networks",
}


@dataclass(frozen=True)
class Spread:
    """Runs that differ in their seed alone: who they are, and their accuracies (fractions)."""

    names: tuple[str, ...]
    found: tuple[float, ...]
    random: tuple[float, ...]
    lead: tuple[float, ...]


def write_comparison(runs: list[Path], out: Path) -> Path:
    """Write a page that compares `runs` and return its path.

    `out` is the file to write, or a folder, in which it becomes comparison.html. Raises
    UserError for fewer than two runs, one that is no run directory, or a folder for `out`
    that does not exist.
    """
    if len(runs) < 2:
        raise UserError("a comparison needs two runs or more: name another run directory")
    page = out / NAME if out.is_dir() else out
    if not page.parent.is_dir():
        raise UserError(f"no folder {str(page.parent)!r} to write {page.name!r} into: create it")
    write_text(page, comparison_html([read_run(run) for run in runs]))
    return page


def comparison_html(runs: Sequence[Run]) -> str:
    """The page for the runs, in the order given."""
    letters = [letter(index) for index in range(len(runs))]
    return render(
        "comparison.html.j2",
        title=f"DOTS: {len(runs)} runs compared",
        letters=letters,
        one_source=len({run.data.name for run in runs if run.data is not None}) < 2,
        runs=[
            (name, run, _lead(run), search_words(run))
            for name, run in zip(letters, runs, strict=True)
        ],
        warnings=list(_warnings(runs)),
        spreads=spreads(runs, letters),
        scatters=list(_scatters(runs, letters)),
        shapes=_shapes(runs, letters),
        curves=list(_curves(runs, letters)),
        cells=list(_cells(runs, letters)),
        differences=differences(runs),
    )


def letter(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    rest, last = divmod(index, 26)
    return (letter(rest - 1) if rest else "") + chr(ord("A") + last)


def _lead(run: Run) -> float | None:
    """The accuracy of the run's own network, less that of its random cell."""
    if run.result is None or "random" not in run.result.baselines:
        return None
    own, random = run.result.test_accuracy, run.result.baselines["random"].test_accuracy
    return None if own is None or random is None else own - random


def search_words(run: Run) -> str:
    """The search of a run, or the network that it trained without one."""
    trained = trained_network(run)
    if trained.kind != "found" and run.result is not None:
        return f"none: {trained.title}"
    parts = [run.setting("strategy"), run.setting("retain"), run.setting("topology.edges")]
    return ", ".join(visible(str(part)) for part in parts if part is not None) or NONE


def _warnings(runs: Sequence[Run]) -> Iterator[str]:
    if len({run.data.name for run in runs if run.data is not None}) > 1:
        yield "The runs are on different data: their accuracies cannot be compared."
    elif len({tuple(run.data.classes) for run in runs if run.data is not None}) > 1:
        yield "The runs have different classes: their accuracies cannot be compared."
    if len({repr(run.setting("train")) for run in runs if run.recipe}) > 1:
        yield (
            "The networks were not trained with the same recipe: a difference in accuracy "
            "may come from the training rather than from the cell. See the settings below."
        )
    untested = [visible(run.name) for run in runs if run.result is None]
    if untested:
        yield f"Not finished, so without numbers: {', '.join(untested)}."


def _scatters(runs: Sequence[Run], letters: Sequence[str]) -> Iterator[Markup]:
    for key, title in (("parameters", "parameters"), ("multiply_adds", "multiply-adds")):
        found = list(_costs(runs, letters, key))
        if len(found) < 2:
            continue
        unit, words = unit_of(max(cost for _, cost, _, _ in found))
        dots = [Dot(label, cost / unit, share, style) for label, cost, share, style in found]
        yield scatter_chart(
            dots, f"Accuracy against {title}", f"{title} in {words}" if words else title
        )


def _costs(
    runs: Sequence[Run], letters: Sequence[str], key: str
) -> Iterator[tuple[str, float, float, int]]:
    """For each tested cell its label, cost, accuracy and style (by the kind of cell)."""
    for run, name in zip(runs, letters, strict=True):
        trained = trained_network(run)
        for cell, numbers in trained_cells(run).items():
            cost = getattr(numbers, key)
            if cost is not None and numbers.test_accuracy is not None:
                known = trained.kind if cell == FOUND else cell
                plain = cell != FOUND or trained.kind == "found" or trained.title == "Given cell"
                label = name if plain else f"{name} {trained.title}"
                yield label, cost, numbers.test_accuracy, _STYLES.get(known, 3)


def _shapes(runs: Sequence[Run], letters: Sequence[str]) -> str:
    """What the shapes in the scatter charts mean, those that are there."""
    used = {style for *_, style in _costs(runs, letters, "parameters")}
    text = ", ".join(words for style, words in _SHAPES.items() if style in used)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _curves(runs: Sequence[Run], letters: Sequence[str]) -> Iterator[Markup]:
    for key, title, scale in (("loss", "Training loss", 1), ("accuracy", "Training accuracy", 100)):
        series = []
        for index, (run, name) in enumerate(zip(runs, letters, strict=True)):
            values = [(row.epoch + 1, row.number(key)) for row in run.rows("train")]
            series.append(
                Series(name, [(x, scale * y) for x, y in values if y is not None], index % 6)
            )
        if any(one.points for one in series):
            unit = " in %" if scale == 100 else ""
            yield line_chart(Frame(f"{title}{unit}", "epoch", title.lower()), series)


def _cells(
    runs: Sequence[Run], letters: Sequence[str]
) -> Iterator[tuple[str, tuple[tuple[str, Markup], ...]]]:
    for run, name in zip(runs, letters, strict=True):
        if FOUND in run.genotypes:
            title = f"{name}: {visible(run.name)}"
            yield title, draw(title, run.genotypes[FOUND])


def differences(runs: Sequence[Run]) -> list[tuple[str, tuple[str, ...]]]:
    """The settings that differ, with each run's value, in the order of the first recipe."""
    recipes = [dict(flat(run.recipe)) for run in runs]
    names = list(dict.fromkeys(name for settings in recipes for name in settings))
    rows = [(name, tuple(settings.get(name, NONE) for settings in recipes)) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def spreads(runs: Sequence[Run], names: Sequence[str]) -> list[Spread]:
    """A line for every set of two or more tested runs that differ in their seed alone."""
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        if run.recipe and run.result is not None and run.result.test_accuracy is not None:
            groups.setdefault(_but_the_seed(run), []).append(index)
    return [
        _spread([runs[i] for i in group], tuple(names[i] for i in group))
        for group in groups.values()
        if len({runs[index].setting("seed") for index in group}) > 1
    ]


def _but_the_seed(run: Run) -> str:
    recipe = {key: value for key, value in run.recipe.items() if key != "seed"}
    source = run.data.name if run.data is not None else ""
    return json.dumps([source, recipe], sort_keys=True)


def _spread(runs: Sequence[Run], names: tuple[str, ...]) -> Spread:
    found = [run.result.test_accuracy for run in runs if run.result is not None]
    random = [
        run.result.baselines["random"].test_accuracy
        for run in runs
        if run.result is not None and "random" in run.result.baselines
    ]
    leads = [_lead(run) for run in runs]
    return Spread(names, *(tuple(x for x in xs if x is not None) for xs in (found, random, leads)))
