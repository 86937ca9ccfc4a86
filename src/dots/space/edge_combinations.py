"""What the nodes of a cell may keep of their edges, and what the values of β stand for.

The combinations are those of Eqs. 5 and 11-13; the parameterisations of the topology (Table 4a)
differ in what a value of β stands for. `dots.nas.topology` has their differentiable side.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations as choose
from typing import ClassVar, Literal

Combination = tuple[int, ...]
"""Positions, ascending, among the incoming edges of a node."""


EdgeChoice = Literal["pairs", "any"] | int
Parameterisation = Literal["combinations", "edges", "sigmoid"]


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


@dataclass(frozen=True)
class NodeChoices(ABC):
    """A parameterisation of the topology, without its parameters: `edges` may a node keep.

    A node of n incoming edges has a value of β for each of its `columns(n)`.
    """

    edges: EdgeChoice
    exclusive: ClassVar[bool] = False
    """Whether one value alone is kept: its lead over the next decides."""
    distribution: ClassVar[bool] = True
    """Whether the probabilities of a node sum to one."""

    def choices(self, incoming: int) -> tuple[Combination, ...]:
        """What a node may keep."""
        return combinations(incoming, self.edges)

    def columns(self, incoming: int) -> tuple[Combination, ...]:
        """For each value of β the edges it stands for: one edge, unless all are chosen at once."""
        return tuple((edge,) for edge in range(incoming))

    @abstractmethod
    def kept(self, incoming: int, values: Sequence[float]) -> Combination:
        """The combination that the values of a node (β, or its probabilities) choose."""

    @abstractmethod
    def logits(self, incoming: int, beta: Sequence[float], temperature: float) -> list[float]:
        """For each of `choices` the logarithm of its weight by β at temperature 1.

        `temperature` is the one that the search ends with.
        """

    @abstractmethod
    def ratings(
        self, incoming: int, beta: Sequence[float], temperature: float
    ) -> Mapping[Combination, float]:
        """How much β at a temperature speaks for each combination that it can rate (Fig. 1)."""

    @property
    def words(self) -> str:
        """What a node chooses, after the words "each node chooses"."""
        return "among its incoming edges, each with a weight of its own"


class CombinationChoices(NodeChoices):
    """DOTS: a value for each combination, of which the largest is kept (Eqs. 5-7)."""

    exclusive = True

    def columns(self, incoming: int) -> tuple[Combination, ...]:
        return self.choices(incoming)

    def kept(self, incoming: int, values: Sequence[float]) -> Combination:
        return self.columns(incoming)[max(range(len(values)), key=values.__getitem__)]

    def logits(self, incoming: int, beta: Sequence[float], temperature: float) -> list[float]:
        return list(beta)

    def ratings(
        self, incoming: int, beta: Sequence[float], temperature: float
    ) -> Mapping[Combination, float]:
        """log p of each combination (Eq. 6)."""
        rated = _log_softmax(beta, temperature)
        return dict(zip(self.columns(incoming), rated, strict=True))

    @property
    def words(self) -> str:
        if self.edges == "any":
            return "one set of incoming edges, of any size"
        size = "two" if self.edges in ("pairs", 2) else self.edges
        return f"one combination of {size} incoming edges"


class HeaviestEdges(NodeChoices):
    """PC-DARTS edge weights: a softmax over a node's edges, of which the heaviest are kept."""

    def kept(self, incoming: int, values: Sequence[float]) -> Combination:
        best = sorted(range(incoming), key=lambda edge: -values[edge])
        return tuple(sorted(best[: len(self.choices(incoming)[0])]))

    def logits(self, incoming: int, beta: Sequence[float], temperature: float) -> list[float]:
        return [sum(beta[edge] for edge in kept) for kept in self.choices(incoming)]

    def ratings(
        self, incoming: int, beta: Sequence[float], temperature: float
    ) -> Mapping[Combination, float]:
        """The sum of the kept edges' weights."""
        weights = [math.exp(value) for value in _log_softmax(beta, temperature)]
        subsets = combinations(incoming, "any")
        return {kept: math.fsum(weights[edge] for edge in kept) for kept in subsets}


@dataclass(frozen=True)
class EdgesAboveThreshold(NodeChoices):
    """Edge-level sigmoid: an edge is kept, or not, by its own probability; never none of all."""

    threshold: float = 0.5
    distribution: ClassVar[bool] = False

    def kept(self, incoming: int, values: Sequence[float]) -> Combination:
        above = tuple(edge for edge in range(incoming) if values[edge] > self.threshold)
        return above or (max(range(incoming), key=values.__getitem__),)

    def logits(self, incoming: int, beta: Sequence[float], temperature: float) -> list[float]:
        least = temperature * math.log(self.threshold / (1 - self.threshold))
        return [sum(beta[edge] - least for edge in kept) for kept in self.choices(incoming)]

    def ratings(
        self, incoming: int, beta: Sequence[float], temperature: float
    ) -> Mapping[Combination, float]:
        """The log probability that exactly these edges are kept."""
        scaled = [value / temperature for value in beta]
        return {
            kept: math.fsum(
                _log_sigmoid(value if edge in kept else -value) for edge, value in enumerate(scaled)
            )
            for kept in combinations(incoming, "any")
        }


def node_choices(
    parameterisation: str, edges: EdgeChoice = "pairs", threshold: float = 0.5
) -> NodeChoices:
    """What nodes choose under a parameterisation. Raises ValueError where there is none such."""
    match parameterisation:
        case "combinations":
            return CombinationChoices(edges)
        case "edges":
            return HeaviestEdges(2 if edges == "any" else edges)
        case "sigmoid":
            return EdgesAboveThreshold("any", threshold)
    raise ValueError(f"no topology parameterisation {parameterisation!r}")


def _log_softmax(values: Sequence[float], temperature: float) -> list[float]:
    heated = [value / temperature for value in values]
    top = max(heated)
    total = top + math.log(math.fsum(math.exp(value - top) for value in heated))
    return [value - total for value in heated]


def _log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value)) if value > 0 else value - math.log1p(math.exp(value))
