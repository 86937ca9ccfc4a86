"""Topologies rated by the trained supernet itself: one-hot γ, no training of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor

from dots.data import Batches
from dots.nas.strategies.shared.held_out import loss_and_accuracy
from dots.networks.supernet import Mixture, Supernet
from dots.recipe.settings import TopologySettings
from dots.space.edge_combinations import Combination, combinations
from dots.space.search_space import SearchSpace
from dots.training.engine import Engine

Topology = tuple[Combination, ...]
"""The combination that each node keeps."""
MOST = 64
"""So many topologies of a cell kind are rated one by one; with more, node after node."""


class SupernetRating:
    """The loss of topologies in a supernet, on held-out images.

    Each edge runs its operation of `operations`, with weight one. The kept edges of a node
    have the weight that annealing gives them in the end: 1/N(c) each, or one. Batch norms
    normalise by the batch.
    """

    def __init__(
        self,
        space: SearchSpace,
        supernet: Supernet,
        operations: Mapping[str, Sequence[str]],
        settings: TopologySettings,
        engine: Engine,
        held_out: Batches,
    ) -> None:
        self.space, self.supernet, self.engine, self.held_out = space, supernet, engine, held_out
        edges = settings.choices.edges
        self.choices = [combinations(len(i), edges) for i in space.cell.incoming]
        self.shared = settings.parameterisation != "sigmoid" and settings.normalise
        self.operations = {
            kind: self._one_hot(supernet.candidates[kind], names)
            for kind, names in operations.items()
        }
        self._known: dict[tuple[Topology, ...], float] = {}

    def _one_hot(self, candidates: Sequence[Sequence[str]], names: Sequence[str]) -> Tensor:
        """Weight one on the named operation of each edge, [edges, candidates]."""
        columns = [own.index(name) for own, name in zip(candidates, names, strict=True)]
        table = torch.zeros(len(columns), max(map(len, candidates)))
        table[range(len(columns)), columns] = 1.0
        return table.to(next(self.supernet.parameters()))

    def loss(self, topologies: Mapping[str, Topology]) -> float:
        """The mean cross-entropy of a cell, by the topology of each of its kinds."""
        key = tuple(topologies[kind] for kind in self.space.kinds)
        if key not in self._known:
            mixtures = {kind: self._mixture(kind, topologies[kind]) for kind in self.space.kinds}
            batches = self.held_out.epoch(0)  # the same images for all
            found = loss_and_accuracy(self.supernet, mixtures, batches, self.engine)
            self._known[key] = found[0]
        return self._known[key]

    def _mixture(self, kind: str, topology: Topology) -> Mixture:
        operations = self.operations[kind]
        gamma = operations.new_zeros(len(self.space.cell.edges))
        for incoming, kept in zip(self.space.cell.incoming, topology, strict=True):
            for position in kept:
                gamma[incoming[position]] = 1 / len(kept) if self.shared else 1.0
        runs = (operations > 0) & (gamma > 0)[:, None]
        return Mixture(operations, gamma, tuple(map(tuple, runs.tolist())))

    def best(self, start: Mapping[str, Topology]) -> dict[str, Topology]:
        """The topologies with the least loss, kind after kind, the others as in `start`.

        All of a kind where they are few; else the best of each node in turn, with what was
        chosen for the nodes before it and `start` at those behind.
        """
        chosen = dict(start)
        for kind in self.space.kinds:
            if self._few():
                chosen[kind] = min(self.all(), key=lambda t: self.loss({**chosen, kind: t}))
                continue
            for node, choices in enumerate(self.choices):
                others = chosen[kind]
                nearby = [(*others[:node], kept, *others[node + 1 :]) for kept in choices]
                chosen[kind] = min(nearby, key=lambda t: self.loss({**chosen, kind: t}))
        return chosen

    def table(self, kept: Mapping[str, Topology]) -> dict[str, list[tuple[Topology, float]]]:
        """The loss of the topologies of each kind; of those that differ from `kept` at one
        node, where there are more than MOST."""
        found = {}
        for kind in self.space.kinds:
            own = kept[kind]
            near = [
                (*own[:node], other, *own[node + 1 :])
                for node, choices in enumerate(self.choices)
                for other in choices
            ]
            rated = self.all() if self._few() else list(dict.fromkeys(near))
            found[kind] = [(topology, self.loss({**kept, kind: topology})) for topology in rated]
        return found

    def all(self) -> list[Topology]:
        """Every choice of a combination at every node."""
        return list(product(*self.choices))

    def _few(self) -> bool:
        return prod(map(len, self.choices)) <= MOST


def as_topology(space: SearchSpace, edges: tuple[int, ...]) -> Topology:
    """The combination at each node, from the indices of a cell's kept edges."""
    return tuple(
        tuple(place for place, edge in enumerate(incoming) if edge in edges)
        for incoming in space.cell.incoming
    )


def as_edges(space: SearchSpace, topology: Topology) -> tuple[int, ...]:
    """The inverse of `as_topology`."""
    pairs = zip(space.cell.incoming, topology, strict=True)
    return tuple(incoming[place] for incoming, kept in pairs for place in kept)
