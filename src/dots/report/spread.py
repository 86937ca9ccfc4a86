"""What several seeds of one recipe say together: means and their spread."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from dots.report.reading import Run
from dots.report.wording import percent


@dataclass(frozen=True)
class Spread:
    """Runs that differ in their seed alone: who they are, and mean ± deviation as text."""

    names: tuple[str, ...]
    found: str
    random: str
    lead: str


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
    pairs = list(_accuracies(runs))
    random = [other for _, other in pairs if other is not None]
    leads = [found - other for found, other in pairs if other is not None]
    return Spread(
        names,
        _written([found for found, _ in pairs]),
        _written(random),
        _written(leads, signed=True),
    )


def _accuracies(runs: Sequence[Run]) -> Iterator[tuple[float, float | None]]:
    for run in runs:
        if run.result is not None and run.result.test_accuracy is not None:
            baseline = run.result.baselines.get("random")
            yield run.result.test_accuracy, baseline.test_accuracy if baseline else None


def _written(values: Sequence[float], signed: bool = False) -> str:
    """Mean ± standard deviation (n - 1) in percent; of one value, that value."""
    if not values:
        return "–"
    centre = f"{100 * mean(values):+.2f}" if signed else f"{100 * mean(values):.2f}"
    centre = centre.replace("-", "−")
    unit = "points" if signed else "%"
    if len(values) < 2:
        return f"{centre} {unit}"
    return f"{centre} ± {percent(stdev(values)).removesuffix(' %')} {unit}"
