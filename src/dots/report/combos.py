"""What the columns of a recorded β stand for: combinations of a node's edges, or edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from dots.report.wording import node
from dots.space.search_space import CellSpec


def columns(
    spec: CellSpec, node: int, recipe_edges: object, parameterisation: object, width: int
) -> list[tuple[int, ...]] | None:
    """For each of `width` recorded values of a node the edges (indices) it stands for.

    Combinations come in the order of paper Eqs. 5 and 11: lexicographic for pairs and k of
    n, counting binary codes (edge 0 the lowest bit) for every non-empty subset. None where
    the recorded values are not as many as the recipe implies.
    """
    incoming = spec.incoming[node]
    count = len(incoming)
    if parameterisation in ("edges", "sigmoid"):
        return [(edge,) for edge in incoming] if width == count else None
    if recipe_edges == "any":
        if width != 2**count - 1:
            return None
        return [
            tuple(edge for bit, edge in enumerate(incoming) if code >> bit & 1)
            for code in range(1, 2**count)
        ]
    size = min(recipe_edges if isinstance(recipe_edges, int) else 2, count)
    if size < 1 or width != math.comb(count, size):
        return None
    return list(combinations(incoming, size))


def combination_name(spec: CellSpec, edges: Sequence[int]) -> str:
    """A combination by the nodes that its edges come from: "{k−2, 1}"."""
    return "{" + ", ".join(node(spec.edges[edge][0], spec.inputs) for edge in edges) + "}"


def leading_pair(
    spec: CellSpec,
    node: int,
    recipe_edges: object,
    parameterisation: object,
    values: Sequence[float],
    before: str = "",
) -> tuple[tuple[float, str], tuple[float, str]]:
    """The two largest of a node's recorded values, each with the name of its combination.

    `before` stands before the names; combinations that cannot be told are numbered.
    """
    table = columns(spec, node, recipe_edges, parameterisation, len(values))
    first, second = sorted(range(len(values)), key=lambda c: -values[c])[:2]

    def named(column: int) -> tuple[float, str]:
        known = before + combination_name(spec, table[column]) if table else None
        return values[column], known or f"combination {column + 1}"

    return named(first), named(second)


def relative_entropy(probabilities: Sequence[float]) -> float:
    """The entropy of a distribution relative to the uniform one's: 0 decided, 1 undecided."""
    if len(probabilities) < 2:
        return 0.0
    nats = -sum(p * math.log(p) for p in probabilities if p > 0)
    return nats / math.log(len(probabilities))


def margin(values: Sequence[float]) -> float:
    """The lead of the largest value over the second; of a single value, the value itself."""
    ordered = sorted(values, reverse=True)
    return ordered[0] - ordered[1] if len(ordered) > 1 else ordered[0]
