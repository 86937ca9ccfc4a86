"""How the different weights rate a topology: what Fig. 1 correlates with true accuracies.

A topology is, for each node, the combination of incoming edges that it keeps (positions, as
in `dots.nas.topology`). Every rating is a sum over nodes, so each is given for one node.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product

from dots.space.edge_combinations import (
    Combination,
    CombinationChoices,
    EdgeChoice,
    NodeChoices,
    combinations,
    node_choices,
)
from dots.space.retain import Scores
from dots.space.search_space import ZERO, SearchSpace
from dots.study import lines
from dots.study.lines import Row
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


def rating_by(
    space: SearchSpace, choices: NodeChoices, beta: Sequence[Sequence[float]], temperature: float
) -> NodeRating:
    """What a parameterisation's raw β of each node says at a temperature."""
    tables = [
        choices.ratings(len(incoming), row, temperature)
        for incoming, row in zip(space.cell.incoming, beta, strict=True)
    ]
    return lambda node, kept: tables[node][kept]


def rating_of_search(space: SearchSpace, topology: Json, kind: str) -> NodeRating:
    """The rating by the parameters in a search's topology.json."""
    choices = node_choices(topology["parameterisation"], topology["edges"])
    return rating_by(space, choices, topology["beta"][kind], topology["temperature"])


CORRELATIONS = ("tau", "tau_equal_size")


def rating_after(space: SearchSpace, entry: Json, edges: EdgeChoice, kind: str) -> NodeRating:
    """Log-probability of a node's combination (Eq. 6), from an epoch of a search's history.

    A probability that has underflown counts as the smallest number, so that it still has a
    logarithm: combinations that have lost for good are rated alike.
    """
    tiny = sys.float_info.min
    logarithms = [[math.log(max(p, tiny)) for p in node] for node in entry["beta"][kind]]
    return rating_by(space, CombinationChoices(edges), logarithms, 1.0)


def markdown_by_epoch(
    rows: Sequence[Row], columns: Mapping[str, tuple[str, float, int]]
) -> str | None:
    """A table with a line for each epoch, means over the rows; None where no row has epochs.

    Its columns are those of `columns` (heading, scale, digits) that are correlations.
    """
    shown = {name: columns[name] for name in CORRELATIONS if name in columns}
    members = [row["by_epoch"] for row in rows if row.get("by_epoch")]
    if not members:
        return None
    body = []
    for entries in zip(*members, strict=True):
        line = [str(entries[0]["epoch"] + 1), f"{entries[0]['temperature']:.3g}"]
        for name, (_, scale, digits) in shown.items():
            found = lines.summary_of(entries, name)
            line.append(lines.spread(found.to_json() if found else None, scale, digits))
        body.append(line)
    headings = [heading for heading, _, _ in shown.values()]
    return lines.markdown(["epoch of the topology search", "T", *headings], body)
