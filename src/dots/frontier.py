"""Points of a score and costs: which are worth keeping, and sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


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
