"""The combinations of edges that a node may keep (Eqs. 5, 11-13)."""

from __future__ import annotations

from itertools import combinations as choose
from typing import Literal

Combination = tuple[int, ...]
"""Positions, ascending, among the incoming edges of a node."""


EdgeChoice = Literal["pairs", "any"] | int


def combinations(incoming: int, edges: EdgeChoice) -> tuple[Combination, ...]:
    """The combinations of `incoming` edges: pairs (Eq. 5), k of n, or all subsets (Eq. 12).

    Pairs and k of n are in lexicographic order; "any" is ordered as the binary codes of
    Eq. 11 count, edge 0 being the lowest bit. A node with fewer edges than asked keeps all.
    """
    if edges == "any":
        codes = range(1, 2**incoming)
        return tuple(tuple(e for e in range(incoming) if code >> e & 1) for code in codes)
    size = 2 if edges == "pairs" else edges
    return tuple(choose(range(incoming), min(size, incoming)))
