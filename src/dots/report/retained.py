"""What was kept on each edge (as in paper Fig. 5a)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dots.report.charts.svg import element, figure, line
from dots.report.graph import group_names, kept_in_topology, operations_on, space_of
from dots.report.reading import FOUND, Run
from dots.report.wording import node
from dots.space.search_space import SearchSpace

FIXED = 0.99
"""From this weight on, an edge's operation counts as fixed (the dashed line of Fig. 3)."""


@dataclass(frozen=True)
class Edge:
    """An edge: its ends, what was kept with the weight at the end, its γ, the way there, its fate.

    `in_cell` are the operations that the found cell has there.
    """

    source: str
    target: str
    kept: tuple[tuple[str, float | None], ...]
    gamma: float | None
    history: Markup | None
    in_cell: tuple[str, ...]


@dataclass(frozen=True)
class RetainedTable:
    """The edges of one cell kind; `groups` are the headings of the retained operations.

    `searched`: a topology search has begun; `decided`: a cell was derived.
    """

    kind: str
    groups: tuple[str, ...]
    edges: tuple[Edge, ...]
    searched: bool
    decided: bool


def retained_tables(run: Run) -> list[RetainedTable]:
    """A table for each cell kind that candidates.json holds; none where there is none."""
    space = space_of(run)
    if space is None or run.candidates is None:
        return []
    groups = group_names(run)
    return [
        RetainedTable(
            kind=kind,
            groups=groups,
            edges=tuple(_edge(run, space, kind, edge) for edge in range(len(rows))),
            searched=bool(run.architecture_rows("topology")),
            decided=FOUND in run.genotypes,
        )
        for kind, rows in run.candidates.candidates.items()
        if len(rows) == len(space.cell.edges)
    ]


def _edge(run: Run, space: SearchSpace, kind: str, edge: int) -> Edge:
    source, target = space.cell.edges[edge]
    paths = weights_over_time(run, kind, edge)
    names = kept_in_topology(run, kind, edge)
    weights = [path[-1] if path else None for path in paths or [[]] * len(names)]
    rows = run.architecture_rows("topology")
    gammas = rows[-1].gamma.get(kind, []) if rows else []
    return Edge(
        source=node(source, space.cell.inputs),
        target=node(target, space.cell.inputs),
        kept=tuple(zip(names, weights, strict=True)),
        gamma=gammas[edge] if len(gammas) == len(space.cell.edges) else None,
        history=_spark(paths) if paths and len(paths) > 1 else None,
        in_cell=operations_on(run, kind, source, target),
    )


def weights_over_time(run: Run, kind: str, edge: int) -> list[list[float]]:
    """For each operation kept on an edge its weight in every topology epoch; may be empty."""
    count = len(kept_in_topology(run, kind, edge))
    series: list[list[float]] = [[] for _ in range(count)]
    for row in run.architecture_rows("topology"):
        edges = row.alpha.get(kind, [])
        if edge >= len(edges) or len(edges[edge]) != count:
            return []
        for path, value in zip(series, edges[edge], strict=True):
            path.append(value)
    return series if all(series) else []


def _spark(paths: Sequence[Sequence[float]]) -> Markup:
    """The first operation's share over the epochs: at the top it has won, at the bottom lost."""
    width, height = 84, 22
    values = paths[0]
    step = (width - 8) / max(1, len(values) - 1)
    places = [(4 + step * index, 3 + (height - 6) * (1 - v)) for index, v in enumerate(values)]
    moves = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return figure(
        width,
        height,
        f"weight of the first operation, from {values[0]:.2f} to {values[-1]:.2f}",
        line(4, height / 2, width - 4, height / 2, "grid"),
        element("polyline", points=moves, class_="line s0"),
        element("circle", cx=places[-1][0], cy=places[-1][1], r=2.5, class_="point s0"),
        class_="spark",
    )


def operations_fixed(run: Run, kind: str) -> int | None:
    """The first topology epoch from which on one operation per edge holds at least FIXED.

    None where that never happened, or where only one operation was kept on every edge.
    """
    fixed: int | None = None
    for row in run.architecture_rows("topology"):
        edges = [weights for weights in row.alpha.get(kind, []) if len(weights) > 1]
        if not edges:
            return None
        settled = all(max(weights) >= FIXED for weights in edges)
        fixed = (row.epoch if fixed is None else fixed) if settled else None
    return fixed
