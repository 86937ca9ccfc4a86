"""The search over time: a picture for each cell kind that a slider moves through the epochs.

The picture is whole without any script: it then shows the last epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dots.common.records import ArchitectureRow
from dots.report.charts.svg import element, figure, join, line, text
from dots.report.graph import kept_in_topology, space_of
from dots.report.reading import Run
from dots.report.wording import kind_name, node, operation
from dots.space.search_space import SearchSpace

FRAMES = 120
"""At most so many epochs go into the page; of longer searches evenly spaced ones."""
ROW = 19.0
SQUARE = 16.0
ARC = 9.0
_TOP = 40.0
_LEFT = 76.0
_GAMMA = 58.0


@dataclass(frozen=True)
class Replay:
    """For the page: a drawing for each kind, and the frames as plain JSON values."""

    drawings: tuple[tuple[str, Markup], ...]
    data: Mapping[str, Any]
    thinned: bool


def replay(run: Run) -> Replay | None:
    """The replay, or None where nothing was recorded."""
    space = space_of(run)
    rows = [*run.architecture_rows("operations"), *run.architecture_rows("topology")]
    if space is None or not rows:
        return None
    chosen = thin(rows)
    frames = [_frame(run, space, row) for row in chosen]
    last = frames[-1]["kinds"]
    drawings = tuple((kind, _drawing(space, kind, last[kind])) for kind in space.kinds)
    return Replay(
        drawings=drawings,
        data={"square": SQUARE, "arc": ARC, "frames": frames},
        thinned=len(chosen) < len(rows),
    )


def thin(rows: Sequence[ArchitectureRow]) -> list[ArchitectureRow]:
    """At most FRAMES rows, evenly spaced, the first and the last among them."""
    if len(rows) <= FRAMES:
        return list(rows)
    step = (len(rows) - 1) / (FRAMES - 1)
    return [rows[round(index * step)] for index in range(FRAMES)]


def _frame(run: Run, space: SearchSpace, row: ArchitectureRow) -> dict[str, Any]:
    stage = "Topology search" if row.stage == "topology" else "Operation search"
    cold = "" if row.temperature is None else f", T = {row.temperature:.3g}"
    return {
        "label": f"{stage}, epoch {row.epoch + 1}{cold}",
        "kinds": {
            kind: {"alpha": _alpha(run, space, row, kind), "gamma": _gamma(space, row, kind)}
            for kind in space.kinds
        },
    }


def _alpha(run: Run, space: SearchSpace, row: ArchitectureRow, kind: str) -> list[Any]:
    """For each edge the weights in the order of the space's operations; None where pruned."""
    edges = row.alpha.get(kind, [])
    table = []
    for edge in range(len(space.cell.edges)):
        weights = edges[edge] if edge < len(edges) else []
        kept = kept_in_topology(run, kind, edge)
        if row.stage == "operations" and len(weights) == len(space.operations):
            named = dict(zip(space.operations, weights, strict=True))
        elif len(weights) == len(kept):
            named = dict(zip(kept, weights, strict=True))
        else:
            named = {}
        table.append([_rounded(named.get(name)) for name in space.operations])
    return table


def _gamma(space: SearchSpace, row: ArchitectureRow, kind: str) -> list[float | None] | None:
    values = row.gamma.get(kind, [])
    if len(values) != len(space.cell.edges):
        return None
    return [_rounded(value) for value in values]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 3)


def _drawing(space: SearchSpace, kind: str, frame: Mapping[str, Any]) -> Markup:
    columns, rows = len(space.operations), len(space.cell.edges)
    width = max(380.0, _LEFT + 26 * columns + _GAMMA)
    step = (width - _LEFT - _GAMMA) / columns
    arcs = 30.0 + 15 * (space.cell.inputs + space.cell.nodes - 1)
    height = arcs + _TOP + ROW * rows + 28
    parts = [_arcs(space, frame["gamma"], width, arcs), _heads(space, step, arcs)]
    for edge in range(rows):
        y = arcs + _TOP + ROW * (edge + 0.5)
        parts.append(_row(space, edge, frame, y, step, width))
    parts.append(text(_LEFT, height - 8, "area of a square: the operation's weight", class_="tick"))
    label = f"{kind_name(kind)} cell: weights of operations and edges at the shown epoch"
    return element(
        "div", figure(width, height, label, *parts), class_="replay-cell", data_kind=kind
    )


def _heads(space: SearchSpace, step: float, arcs: float) -> Markup:
    parts = [text(4, arcs + 28, "edge", class_="tick")]
    for index, name in enumerate(space.operations):
        x = _LEFT + step * (index + 0.5)
        first, _, rest = operation(name).partition(" ")
        parts.append(text(x, arcs + (16 if rest else 28), first[:6], "middle", "tick"))
        if rest:
            parts.append(text(x, arcs + 28, rest[:6], "middle", "tick"))
    end = _LEFT + step * len(space.operations)
    parts.append(text(end + 10, arcs + 28, "γ", class_="tick"))
    return join(parts)


def _row(
    space: SearchSpace, edge: int, frame: Mapping[str, Any], y: float, step: float, width: float
) -> Markup:
    ends = [node(end, space.cell.inputs) for end in space.cell.edges[edge]]
    parts = [
        text(4, y + 4, f"{edge + 1}", class_="tick strong"),
        text(24, y + 4, f"{ends[0]} → {ends[1]}", class_="tick"),
        line(_LEFT, y + ROW / 2, width, y + ROW / 2, "grid"),
    ]
    for column, value in enumerate(frame["alpha"][edge]):
        side = SQUARE * math.sqrt(min(1.0, max(0.0, value or 0.0)))
        x = _LEFT + step * (column + 0.5)
        place = {"x": x - side / 2, "y": y - side / 2, "width": side, "height": side}
        where = {"data_edge": edge, "data_op": column, "data_x": x, "data_y": y}
        parts.append(element("rect", class_="square", **place, **where))
    left = width - _GAMMA + 10
    gamma = (frame["gamma"] or [0.0] * (edge + 1))[edge] or 0.0
    full = _GAMMA - 14
    place = {"x": left, "y": y - 5, "width": full * min(1.0, gamma), "height": 10.0}
    parts.append(element("rect", class_="bar", **place, data_gamma=edge, data_full=full))
    return join(parts)


def _arcs(
    space: SearchSpace, gamma: Sequence[float | None] | None, width: float, height: float
) -> Markup:
    count = space.cell.inputs + space.cell.nodes
    gap = (width - 60) / max(1, count - 1)
    base = height - 24
    parts = []
    for edge, (source, target) in enumerate(space.cell.edges):
        x1, x2 = 30 + gap * source, 30 + gap * target
        rise = (base - 8) * (target - source) / max(1, count - 1) * 1.3
        value = (gamma[edge] or 0.0) if gamma else 0.15
        top = f"{base - rise:.1f}"
        path = f"M{x1:.1f} {base:.1f}C{x1:.1f} {top} {x2:.1f} {top} {x2:.1f} {base:.1f}"
        parts.append(element("path", d=path, class_="arc", stroke_width=ARC * value, data_arc=edge))
    for index in range(count):
        x = 30 + gap * index
        parts.append(element("circle", cx=x, cy=base, r=5, class_="node"))
        name = node(index, space.cell.inputs)
        parts.append(text(x, base + 19, name, "middle", "tick"))
    return join(parts)
