"""What else could have been chosen: the most probable cells, and what less would have cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from dots.common.records import Alternatives, Choice
from dots.report.charts.axes import Scale, padded, tick_text, ticks
from dots.report.charts.svg import element, figure, join, line, marker, text, text_width
from dots.report.reading import Run
from dots.report.wording import amount

METRICS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "nanoseconds": "latency in ms",
}
WIDTH, HEIGHT = 340, 230


@dataclass(frozen=True)
class Choices:
    """The most probable cells, the metrics of their costs, and a chart for each metric.

    `cells` are each a cell, its probability relative to the first, and whether it is the found
    one.
    """

    metrics: tuple[str, ...]
    cells: tuple[tuple[Choice, float, bool], ...]
    charts: tuple[Markup, ...]
    limits: tuple[str, ...]


def alternatives(run: Run) -> Choices | None:
    """What alternatives.json tells, or None where there is none."""
    known = run.alternatives
    if known is None or not known.top:
        return None
    metrics = tuple(name for name in METRICS if name in known.top[0].costs)
    best = known.top[0].log_probability
    cells = tuple(
        (cell, math.exp(min(0.0, cell.log_probability - best)), _same(cell, known.chosen))
        for cell in known.top
    )
    charts = tuple(
        _chart(known, name, best) for name in metrics if len(known.pareto.get(name, ())) > 1
    )
    limits = tuple(
        f"{shown(limit, name)} {heading(name)}"
        for name, limit in known.limits.items()
        if name in METRICS
    )
    return Choices(metrics, cells, charts, limits)


def heading(metric: str) -> str:
    """A metric without its unit."""
    return METRICS[metric].removesuffix(" in ms")


def shown(value: float | None, metric: str) -> str:
    """A cost as text; latencies in milliseconds."""
    if metric == "nanoseconds" and value is not None:
        return f"{value / 1e6:.3g} ms"
    return amount(value)


def _same(cell: Choice, chosen: Choice | None) -> bool:
    return chosen is not None and (cell.log_probability, cell.costs) == (
        chosen.log_probability,
        chosen.costs,
    )


def _chart(known: Alternatives, metric: str, best: float) -> Markup:
    """Probability against cost: the front as steps, the most probable cells, the found one."""
    front = _points(known.pareto[metric], metric, best)
    cloud = _points(known.top, metric, best)
    found = _points([known.chosen] if known.chosen else [], metric, best)
    everything = [*front, *cloud, *found]
    unit, factor = _unit(metric, max(x for x, _ in everything))
    x_low, x_high = padded([x / factor for x, _ in everything], 0.08)
    y_low, y_high = padded([y for _, y in everything], 0.08)
    across = Scale(max(0.0, x_low), x_high, 52, WIDTH - 16)
    up = Scale(y_low, y_high, HEIGHT - 44, 30)
    limit = known.limits.get(metric)
    title = f"Probability against {heading(metric)}"
    label = METRICS[metric] if metric == "nanoseconds" else f"{METRICS[metric]}{unit}"
    parts = [
        text(4, 14, title, class_="chart-title"),
        _axes(across, up, label),
        _steps([(across(x / factor), up(y)) for x, y in front]),
        join(element("circle", cx=across(x / factor), cy=up(y), r=2.5, class_="point s5")
             for x, y in cloud),
        join(marker(across(x / factor), up(y), 0) for x, y in front),
    ]  # fmt: skip
    if limit is not None and x_low <= limit / factor <= x_high:
        x = across(limit / factor)
        parts += [
            line(x, up.start, x, up.end, "mark"),
            text(x + 4, 28, "limit", class_="mark-label"),
        ]
    for x, y in found:
        parts.append(_found(across(x / factor), up(y)))
    spoken = "; ".join(f"{shown(x, metric)}: {y:.2f}" for x, y in front)
    return figure(WIDTH, HEIGHT, f"{title}. The most probable cells of each size: {spoken}", *parts)


def _points(cells: Sequence[Choice], metric: str, best: float) -> list[tuple[float, float]]:
    """(cost, log probability against the most probable cell), by rising cost."""
    known = [cell for cell in cells if metric in cell.costs]
    return sorted((cell.costs[metric], cell.log_probability - best) for cell in known)


def _unit(metric: str, largest: float) -> tuple[str, float]:
    if metric == "nanoseconds":
        return "", 1e6
    for size, name in ((1e9, " in G"), (1e6, " in M"), (1e3, " in k")):
        if largest >= size:
            return name, size
    return "", 1.0


def _steps(points: Sequence[tuple[float, float]]) -> Markup:
    """From each point level to the right, then up to the next: the best at most so costly."""
    corners = [points[0]]
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    moves = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return element("polyline", points=moves, class_="line s0")


def _found(x: float, y: float) -> Markup:
    word = "found"
    left = x + 10 + text_width(word) > WIDTH - 4
    place, anchor = (x - 10, "end") if left else (x + 10, "start")
    return join([marker(x, y, 1, 5), text(place, y + 14, word, anchor, "label s1")])


def _axes(across: Scale, up: Scale, label: str) -> Markup:
    parts = [line(across.start, up.start, across.end, up.start, "axis")]
    for scale, level in ((across, False), (up, True)):
        values = ticks(scale.low, scale.high, 5)
        step = values[1] - values[0] if len(values) > 1 else 1
        for value in values:
            at, words = scale(value), tick_text(value, step)
            if level:
                parts.append(line(across.start, at, across.end, at, "grid"))
                parts.append(text(across.start - 6, at + 4, words, "end", "tick"))
            else:
                parts.append(line(at, up.start, at, up.start + 4, "axis"))
                parts.append(text(at, up.start + 16, words, "middle", "tick"))
    middle = (across.start + across.end) / 2
    parts.append(text(middle, HEIGHT - 8, label, "middle", "axis-label"))
    return join(parts)
