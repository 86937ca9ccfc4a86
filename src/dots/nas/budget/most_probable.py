"""The most probable cells within limits, found exactly.

A cell is a choice at every node of every kind: a combination of edges, and an operation on
each of them. Choices are independent and costs add up, so the best rest of a cell for a given
remaining budget can be tabulated from the last node to the first; with that table a best-first
search visits cells in the order of their probability. `alternatives` is the content of a file.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dots.common.errors import UserError
from dots.common.records import Alternatives, Choice
from dots.nas.budget.cost_table import CostTable, Metric
from dots.nas.budget.distribution import ArchitectureDistribution
from dots.space.discretise import build_genotype
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace


class Point(NamedTuple):
    """A score to be maximised, and what it costs by each limited metric."""

    score: float
    costs: tuple[float, ...]


def prune(points: Sequence[Point], k: int = 1) -> list[int]:
    """The indices of the points, best score first, that fewer than `k` others dominate.

    A point dominates another where it scores at least as much and costs no more by any
    metric; of equal points the earlier one dominates. Whoever wants the `k` best of a sum of
    points needs no others.
    """
    order = sorted(range(len(points)), key=lambda i: (-points[i].score, points[i].costs))
    width = len(points[0].costs) if points else 0
    kept: list[int] = []
    costs = np.empty((len(points), width))
    for index in order:
        own = np.asarray(points[index].costs)
        cheaper = (costs[: len(kept)] <= own).all(axis=1).sum()
        if cheaper < k:
            costs[len(kept)] = own
            kept.append(index)
    return kept


def extend(rest: Sequence[Point], options: Sequence[Point], room: tuple[float, ...]) -> list[Point]:
    """The undominated sums of a point and an option that fit into `room`, best score first."""
    if not rest or not options:
        return []
    scores = _column(rest)[:, None] + _column(options)[None, :]
    costs = _costs(rest)[:, None, :] + _costs(options)[None, :, :]
    flat_scores, flat_costs = scores.ravel(), costs.reshape(scores.size, -1)
    fits = (flat_costs <= np.asarray(room)).all(axis=1)
    flat_scores, flat_costs = flat_scores[fits], flat_costs[fits]
    order = np.lexsort((*flat_costs.T[::-1], -flat_scores))
    return _undominated(flat_scores[order], flat_costs[order])


def _undominated(scores: npt.NDArray[np.float64], costs: npt.NDArray[np.float64]) -> list[Point]:
    """Of points with falling scores those that no earlier one dominates.

    Point after point takes out of the rest all that cost no less by any metric.
    """
    kept: list[Point] = []
    while len(scores):
        kept.append(Point(float(scores[0]), tuple(costs[0].tolist())))
        left = (costs < costs[0]).any(axis=1)
        scores, costs = scores[left], costs[left]
    return kept


def best_within(points: Sequence[Point], room: tuple[float, ...]) -> float | None:
    """The best score that costs at most `room`; `points` are sorted by falling score."""
    for point in points:
        if all(cost <= limit for cost, limit in zip(point.costs, room, strict=True)):
            return point.score
    return None


def _column(points: Sequence[Point]) -> npt.NDArray[np.float64]:
    return np.array([point.score for point in points])


def _costs(points: Sequence[Point]) -> npt.NDArray[np.float64]:
    return np.array([point.costs for point in points]).reshape(len(points), -1)


Limits = Mapping[Metric, float]
"""The most that a network may cost, by metric. What is absent is not limited."""

OPTIONS: Mapping[Metric, str] = {
    "parameters": "--max-params",
    "multiply_adds": "--max-multiply-adds",
    "nanoseconds": "--latency-target",
}


NAMES: Mapping[Metric, str] = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "nanoseconds": "milliseconds",
}


@dataclass(frozen=True)
class Alternative:
    """A cell, how probable it is, and what its network costs by each metric.

    `log_probability` is that of the topology together with an operation on every edge, where
    edges that are not kept have their most probable operation: so the most probable cell of
    all is the one that `derive.derive_dots` gives.
    """

    genotype: Genotype
    log_probability: float
    costs: Mapping[Metric, float]


class _Option(NamedTuple):
    """A choice at a node: log probability, limited costs, operations on kept edges."""

    score: float
    costs: tuple[float, ...]
    chosen: tuple[tuple[int, str], ...]


def top_cells(
    distribution: ArchitectureDistribution,
    tables: Sequence[CostTable],
    k: int,
    limits: Limits | None = None,
) -> list[Alternative]:
    """The `k` most probable cells within `limits`, best first; fewer where there are fewer.

    `tables` give the costs that are reported, and must have those that are limited. Equally
    probable cells come in a fixed order. Raises UserError where no cell is within the limits.
    """
    limits = limits or {}
    limited = [table for table in tables if table.metric in limits]
    room = tuple(limits[table.metric] - table.fixed for table in limited)
    groups = [
        (kind, _pruned(_options(distribution, limited, kind, node), k))
        for kind in distribution.space.kinds
        for node in range(distribution.space.cell.nodes)
    ]
    rest = _suffixes([options for _, options in groups], room)
    _check(distribution, limited, limits, rest[0])
    found = []
    for score, picked in _best_first([options for _, options in groups], rest, room, k):
        kinds = [kind for kind, _ in groups]
        genotype = _genotype(distribution.space, zip(kinds, picked, strict=True))
        costs = {table.metric: table.total(genotype) for table in tables}
        found.append(Alternative(genotype, score, costs))
    return found


def derive_within(
    distribution: ArchitectureDistribution, tables: Sequence[CostTable], limits: Limits
) -> Alternative:
    """The most probable cell within the limits. Raises UserError where there is none."""
    return top_cells(distribution, tables, 1, limits)[0]


def pareto_cells(
    distribution: ArchitectureDistribution, tables: Sequence[CostTable], metric: Metric
) -> list[Alternative]:
    """The cells that no cheaper one equals in probability, by one metric, best first."""
    (table,) = (table for table in tables if table.metric == metric)
    groups = [
        _pruned(_options(distribution, [table], kind, node), 1)
        for kind in distribution.space.kinds
        for node in range(distribution.space.cell.nodes)
    ]
    front = _suffixes(groups, (math.inf,))[0]
    return [
        derive_within(distribution, tables, {metric: table.fixed + point.costs[0]})
        for point in front
    ]


def _options(
    distribution: ArchitectureDistribution, limited: Sequence[CostTable], kind: str, node: int
) -> list[_Option]:
    """Everything that a node may choose, most probable first."""
    incoming = distribution.space.cell.incoming[node]
    edges = distribution.space.cell.edges
    best = [max(p for _, p in distribution.operations[kind][edge]) for edge in incoming]
    options = []
    for combination, log_p in distribution.combinations[kind][node]:
        kept = [incoming[position] for position in combination]
        others = sum(p for place, p in enumerate(best) if place not in combination)
        for operations in product(*(distribution.operations[kind][edge] for edge in kept)):
            score = log_p + others + sum(p for _, p in operations)
            chosen = tuple((edge, op) for edge, (op, _) in zip(kept, operations, strict=True))
            costs = tuple(
                sum(table.edge(kind, op, edges[edge][0]) for edge, op in chosen)
                for table in limited
            )
            options.append(_Option(score, costs, chosen))
    return sorted(options, key=lambda option: -option.score)


def _pruned(options: list[_Option], k: int) -> list[_Option]:
    """Without options to which `k` others are preferable in every respect."""
    keep = prune([Point(option.score, option.costs) for option in options], k)
    return [options[index] for index in keep]


def _suffixes(groups: Sequence[list[_Option]], room: tuple[float, ...]) -> list[list[Point]]:
    """For each group the undominated choices of it and all after it; last, that of nothing."""
    rest = [[Point(0.0, (0.0,) * len(room))]]
    for options in reversed(groups):
        points = [Point(option.score, option.costs) for option in options]
        rest.append(extend(rest[-1], points, room))
    return rest[::-1]


def _best_first(
    groups: Sequence[list[_Option]], rest: Sequence[list[Point]], room: tuple[float, ...], k: int
) -> list[tuple[float, tuple[_Option, ...]]]:
    """The `k` best choices of an option from each group that fit into `room`.

    `rest` says exactly what the best completion of a beginning is worth, so what leaves the
    queue complete is the best that is left. Of equally good beginnings the longest goes first:
    where all are equal, the search walks straight to the end.
    """
    order = count()
    queue: list[tuple[float, int, int, float, tuple[float, ...], tuple[_Option, ...]]] = [
        (0.0, 0, next(order), 0.0, room, ())
    ]
    found: list[tuple[float, tuple[_Option, ...]]] = []
    while queue and len(found) < k:
        _, _, _, score, left, picked = heapq.heappop(queue)
        if len(picked) == len(groups):
            found.append((score, picked))
            continue
        for option in groups[len(picked)]:
            remaining = tuple(a - b for a, b in zip(left, option.costs, strict=True))
            ahead = best_within(rest[len(picked) + 1], remaining)
            if ahead is not None:
                so_far = score + option.score
                worth = round(-(so_far + ahead), 9)  # sums in another order differ in rounding
                longer = (*picked, option)
                entry = (worth, -len(longer), next(order), so_far, remaining, longer)
                heapq.heappush(queue, entry)
    return found


def _genotype(space: SearchSpace, picked: zip[tuple[str, _Option]]) -> Genotype:
    chosen: dict[str, dict[int, tuple[str]]] = {kind: {} for kind in space.kinds}
    for kind, option in picked:
        chosen[kind].update({edge: (op,) for edge, op in option.chosen})
    return build_genotype(space, chosen)


def _check(
    distribution: ArchitectureDistribution,
    limited: Sequence[CostTable],
    limits: Limits,
    whole: list[Point],
) -> None:
    """Raise UserError where nothing is within the limits."""
    if not whole:
        check_each(distribution, limited, limits)
        raise UserError(
            "no cell of this search is within "
            + " and ".join(f"{OPTIONS[m]} {shown_cost(m, limit)}" for m, limit in limits.items())
            + " at once, though within each of them alone: raise one"
        )


def check_each(
    distribution: ArchitectureDistribution, tables: Sequence[CostTable], limits: Limits
) -> None:
    """Raise UserError, naming the least, where no cell is within one of the limits alone."""
    for table in tables:
        limit = limits.get(table.metric)
        if limit is not None and (least := least_cost(distribution, table)) > limit:
            raise UserError(
                f"no cell of this search has at most {shown_cost(table.metric, limit)} "
                f"{NAMES[table.metric]}: the least is {shown_cost(table.metric, least)} "
                f"({OPTIONS[table.metric]}), or take fewer cells or channels"
            )


def least_cost(distribution: ArchitectureDistribution, table: CostTable) -> float:
    """The cost of the cheapest network of the search, by one metric."""
    space = distribution.space
    total = table.fixed
    for kind in space.kinds:
        cheapest = [
            min(table.edge(kind, op, source) for op, _ in operations)
            for (source, _), operations in zip(
                space.cell.edges, distribution.operations[kind], strict=True
            )
        ]
        for incoming, scored in zip(
            space.cell.incoming, distribution.combinations[kind], strict=True
        ):
            total += min(sum(cheapest[incoming[place]] for place in c) for c, _ in scored)
    return total


def largest_choice(distribution: ArchitectureDistribution) -> int:
    """How many choices of edges and operations the node with the most of them has."""
    return max(
        sum(
            prod(len(distribution.operations[kind][incoming[place]]) for place in combination)
            for combination, _ in scored
        )
        for kind in distribution.space.kinds
        for incoming, scored in zip(
            distribution.space.cell.incoming, distribution.combinations[kind], strict=True
        )
    )


def shown_cost(metric: Metric, value: float) -> str:
    """A cost for a message: latencies in milliseconds, the others as they are."""
    if metric == "nanoseconds":
        return f"{value / 1e6:.4g}"
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"


TOP = 10


def alternatives(
    distribution: ArchitectureDistribution,
    tables: Sequence[CostTable],
    limits: Mapping[Metric, float],
    chosen: Genotype,
) -> Alternatives:
    """The content of alternatives.json.

    `top` are the most probable cells, without limits; `pareto` for each metric those that no
    cheaper cell equals in probability, most probable first; `chosen` is the cell that was
    taken. Each has the logarithm of its joint probability at temperature 1, its network's
    costs, and whether it is within the limits; all but the chosen one have the genotype.
    """
    top = top_cells(distribution, tables, TOP)
    within = top_cells(distribution, tables, 1, limits) if limits else []
    found = [cell for cell in (*within, *top) if cell.genotype == chosen]
    return Alternatives(
        version=1,
        limits=limits,
        chosen=_choice(found[0], limits) if found else None,
        top=[_choice(cell, limits, genotype=cell.genotype.to_json()) for cell in top],
        pareto={
            table.metric: [
                _choice(cell, limits, genotype=cell.genotype.to_json())
                for cell in pareto_cells(distribution, tables, table.metric)
            ]
            for table in tables
        },
    )


def _choice(cell: Alternative, limits: Mapping[Metric, float], **genotype: object) -> Choice:
    return Choice(
        log_probability=cell.log_probability,
        costs=cell.costs,
        within_limits=all(cell.costs[metric] <= limit for metric, limit in limits.items()),
        **genotype,
    )
