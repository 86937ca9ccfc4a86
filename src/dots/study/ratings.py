"""How the different weights rate a topology: what Fig. 1 correlates with true accuracies.

A topology is, for each node, the combination of incoming edges that it keeps (positions, as
in `dots.nas.topology`). Every rating is a sum over nodes, so each is given for one node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

from dots.space.edge_combinations import Combination, EdgeChoice, combinations
from dots.space.retain import Scores
from dots.space.search_space import ZERO, SearchSpace
from dots.study.trial import Json

Topology = tuple[Combination, ...]
NodeRating = Callable[[int, Combination], float]
"""From a node and the combination it keeps to a number: the larger, the better."""


def all_topologies(space: SearchSpace) -> list[Topology]:
    """Every choice of a non-empty subset of edges at every node (Eq. 12)."""
    choices = [combinations(len(incoming), "any") for incoming in space.cell.incoming]
    return list(product(*choices))


def rate(rating: NodeRating, topology: Topology) -> float:
    """The rating of a whole topology."""
    return math.fsum(rating(node, kept) for node, kept in enumerate(topology))


def importance(space: SearchSpace, scores: Scores, kind: str) -> list[float]:
    """DARTS' importance of each edge: its largest weight of an operation other than Zero."""
    columns = [index for index, name in enumerate(space.operations) if name != ZERO]
    return [max(row[column] for column in columns) for row in scores[kind]]


def summed(space: SearchSpace, weights: Sequence[float]) -> NodeRating:
    """The sum of the kept edges' weights (Sec. 3.2), from a weight for each edge of the cell."""

    def rating(node: int, kept: Combination) -> float:
        incoming = space.cell.incoming[node]
        return math.fsum(weights[incoming[position]] for position in kept)

    return rating


def edge_count(node: int, kept: Combination) -> float:
    """The number of edges, which knows nothing of the search."""
    return float(len(kept))


def combination_log_probability(
    space: SearchSpace, beta: Sequence[Sequence[float]], edges: EdgeChoice, temperature: float
) -> NodeRating:
    """DOTS: log p of a node's combination (Eq. 6), from its raw β at the last temperature."""
    tables = [
        dict(zip(combinations(len(incoming), edges), _log_softmax(row, temperature), strict=True))
        for incoming, row in zip(space.cell.incoming, beta, strict=True)
    ]
    return lambda node, kept: tables[node][kept]


def _log_softmax(values: Sequence[float], temperature: float) -> list[float]:
    heated = [value / temperature for value in values]
    top = max(heated)
    total = top + math.log(math.fsum(math.exp(value - top) for value in heated))
    return [value - total for value in heated]


def edge_softmax(
    space: SearchSpace, beta: Sequence[Sequence[float]], temperature: float
) -> NodeRating:
    """PC-DARTS: the sum of the kept edges' weights, a softmax over each node's edges."""
    weights = [math.exp(value) for row in beta for value in _log_softmax(row, temperature)]
    return summed(space, weights)


def sigmoid_log_probability(beta: Sequence[Sequence[float]], temperature: float) -> NodeRating:
    """Edge-level sigmoid: log probability that exactly these edges of the node are kept."""

    def rating(node: int, kept: Combination) -> float:
        signs = [1 if position in kept else -1 for position in range(len(beta[node]))]
        return math.fsum(
            _log_sigmoid(sign * value / temperature)
            for sign, value in zip(signs, beta[node], strict=True)
        )

    return rating


def _log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value)) if value > 0 else value - math.log1p(math.exp(value))


def rating_of_search(space: SearchSpace, topology: Json, kind: str) -> NodeRating:
    """The rating by the parameters in a search's topology.json."""
    beta, temperature = topology["beta"][kind], topology["temperature"]
    match topology["parameterisation"]:
        case "edges":
            return edge_softmax(space, beta, temperature)
        case "sigmoid":
            return sigmoid_log_probability(beta, temperature)
    return combination_log_probability(space, beta, topology["edges"], temperature)
