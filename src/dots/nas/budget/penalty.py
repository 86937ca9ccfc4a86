"""What a search expects its derived network to cost: a differentiable term for its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dots.nas.budget.cost_table import CostTable, Metric
from dots.nas.relaxation import Temperature
from dots.nas.topology import Topology
from dots.networks.supernet import Mixture
from dots.space.edge_combinations import EdgeChoice, combinations
from dots.space.search_space import ZERO, Candidates, SearchSpace

CostTensors = Mapping[str, Tensor]
"""For each cell kind [edges, candidates]: what an operation on an edge adds to the network."""
Kept = Mapping[str, Tensor]
"""For each cell kind [edges]: the probability that the edge is in the derived cell."""


def cost_tensors(
    space: SearchSpace,
    candidates: Candidates,
    table: CostTable,
    device: torch.device | None = None,
) -> CostTensors:
    """The table as tensors in the layout of a Mixture's `operations`; Zero costs nothing."""
    tensors = {}
    for kind in space.kinds:
        columns = max(len(names) for names in candidates[kind])
        rows = []
        for (source, _), names in zip(space.cell.edges, candidates[kind], strict=True):
            row = [table.edge(kind, op, source) for op in names]
            rows.append(row + [0.0] * (columns - len(row)))
        tensors[kind] = torch.tensor(rows, device=device)
    return tensors


def expected_cost(
    mixtures: Mapping[str, Mixture],
    tensors: CostTensors,
    kept: Kept | None = None,
    fixed: float = 0.0,
) -> Tensor:
    """fixed + Σ kept · weight · cost over cell kinds, edges and operations: a scalar.

    Differentiable in the mixtures' operation weights and in `kept`. Without `kept` an edge
    counts by its weight in the mixture (γ), or wholly where it has none. γ is not the
    probability that an edge is kept, which is twice as high for pairs: for a cost in true
    units give `kept_probabilities` in the topology search and `uniform_kept` before it.
    """
    parts = []
    for kind, costs in tensors.items():
        mixture = mixtures[kind]
        weights = mixture.operations[:, : costs.shape[1]]
        per_edge = (weights * costs.to(weights.dtype)).sum(1)
        edges = mixture.edges if kept is None else kept[kind]
        parts.append((per_edge if edges is None else per_edge * edges).sum())
    return torch.stack(parts).sum() + fixed


def over_target(expected: Tensor, target: float) -> Tensor:
    """By what share the expected cost exceeds the target; zero below it. For a weighted sum
    with the classification loss (the form of ProxylessNAS, which also rewards being below).
    """
    return torch.relu((expected - target) / target)


def kept_probabilities(topology: Topology, temperature: Temperature) -> dict[str, Tensor]:
    """How probable each edge is in the derived cell, [edges] by kind; differentiable in β."""
    return {
        kind: torch.cat(
            [topology.node_kept(node, beta, temperature) for node, beta in topology.nodes(kind)]
        )
        for kind in topology.kinds
    }


def uniform_kept(space: SearchSpace, edges: EdgeChoice) -> dict[str, Tensor]:
    """The same before any topology is searched: every combination is equally probable."""
    rows = []
    for incoming in space.cell.incoming:
        table = combinations(len(incoming), edges)
        rows += [sum(edge in c for c in table) / len(table) for edge in range(len(incoming))]
    return {kind: torch.tensor(rows) for kind in space.kinds}


SLIGHT = 1e-6
"""The least weight of an edge's operations together that is still shared out among them."""


def real_shares(weights: Tensor, real: Tensor) -> Tensor:
    """The shares of an edge's operations other than Zero; `real` is 1 where they are, else 0."""
    masked = weights * real
    return masked / masked.sum(1, keepdim=True).clamp_min(SLIGHT)


class CostPenalty:
    """What a search adds to its loss for a budget.

    weight · Σ over the limits of the share by which the expected cost exceeds the limit. An
    operation's share in the cost of its edge is its weight among the edge's operations
    without Zero, which no derived cell holds.
    """

    def __init__(
        self,
        space: SearchSpace,
        tables: Sequence[CostTable],
        limits: Mapping[Metric, float],
        weight: float,
        kept: Kept,
    ) -> None:
        self.space = space
        self.tables = [table for table in tables if table.metric in limits]
        self.limits = limits
        self.weight = weight
        self.kept = kept
        """What the expectation goes by where a search says nothing: see `uniform_kept`."""
        self._known: tuple[Candidates, list[CostTensors], dict[str, Tensor], Kept] | None = None

    def __call__(
        self, weights: Mapping[str, Tensor], candidates: Candidates, kept: Kept | None = None
    ) -> Tensor:
        """A scalar, differentiable in `weights` (for each kind [edges, candidates]) and `kept`."""
        expected = self.expected(weights, candidates, kept)
        parts = [over_target(cost, self.limits[metric]) for metric, cost in expected.items()]
        return self.weight * torch.stack(parts).sum()

    def expected(
        self, weights: Mapping[str, Tensor], candidates: Candidates, kept: Kept | None = None
    ) -> dict[Metric, Tensor]:
        """The expected cost of the derived network by each limited metric."""
        device = next(iter(weights.values())).device
        tensors, real, uniform = self._tensors(candidates, device)
        mixtures = {}
        for kind, mask in real.items():
            mixtures[kind] = Mixture(real_shares(weights[kind][:, : mask.shape[1]], mask))
        return {
            table.metric: expected_cost(mixtures, costs, kept or uniform, table.fixed)
            for table, costs in zip(self.tables, tensors, strict=True)
        }

    def _tensors(
        self, candidates: Candidates, device: torch.device
    ) -> tuple[list[CostTensors], dict[str, Tensor], Kept]:
        """The tables as tensors, which candidates are real, and `kept`: made once for the same."""
        if self._known is None or self._known[0] is not candidates:
            tables = [cost_tensors(self.space, candidates, t, device) for t in self.tables]
            kept = {kind: row.to(device) for kind, row in self.kept.items()}
            self._known = candidates, tables, _real(self.space, candidates, device), kept
        return self._known[1:]


def _real(space: SearchSpace, candidates: Candidates, device: torch.device) -> dict[str, Tensor]:
    """1 where there is a candidate other than Zero, [edges, columns], for each cell kind."""
    masks = {}
    for kind in space.kinds:
        columns = max(len(names) for names in candidates[kind])
        rows = [
            [float(op != ZERO) for op in names] + [0.0] * (columns - len(names))
            for names in candidates[kind]
        ]
        masks[kind] = torch.tensor(rows, device=device)
    return masks
