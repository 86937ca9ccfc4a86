"""The topology search space and its relaxation (paper Sec. 4.1, Eqs. 5-8 and 11-13).

Every node chooses a combination of its incoming edges. Pairs, k of n, and every non-empty
subset differ in their membership table alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from dots.nas.relaxation import Temperature, softmax
from dots.space.edge_combinations import (
    Combination,
    EdgeChoice,
    NodeChoices,
    combinations,
    node_choices,
)
from dots.space.search_space import SearchSpace


def membership(incoming: int, edges: EdgeChoice, *, normalise: bool) -> Tensor:
    """The table [combinations, incoming] of Eq. 7: 1/N(c) where the edge is in c, else 0.

    Without `normalise` the entries are 1, as in the authors' release.
    """
    if edges == "any":
        codes = torch.arange(1, 2**incoming)
        table = (codes[:, None] >> torch.arange(incoming) & 1).to(torch.float32)
    else:
        rows = torch.tensor(combinations(incoming, edges))
        table = torch.zeros(len(rows), incoming).scatter_(1, rows, 1.0)
    return table / table.sum(1, keepdim=True) if normalise else table


class Topology(nn.Module, ABC):
    """Topology parameters of every cell kind, and the edge weights γ they give.

    `beta` holds one parameter vector for each cell kind and intermediate node, zero at first.
    `choices` says what nodes may keep, and what the values of a vector stand for.
    """

    def __init__(self, space: SearchSpace, choices: NodeChoices) -> None:
        super().__init__()
        self.cell = space.cell
        self.choices = choices
        lengths = [len(choices.columns(len(incoming))) for incoming in space.cell.incoming]
        self.kinds = space.kinds
        self.beta = nn.ModuleDict(
            {kind: nn.ParameterList(torch.zeros(n) for n in lengths) for kind in space.kinds}
        )

    def nodes(self, kind: str) -> Iterator[tuple[int, Tensor]]:
        """The intermediate nodes of a cell kind, counted from 0, with their parameters."""
        parameters = self.beta[kind]
        assert isinstance(parameters, nn.ParameterList)
        return enumerate(parameters)

    @abstractmethod
    def node_probabilities(self, beta: Tensor, temperature: Temperature) -> Tensor:
        """What a node's parameters mean: probabilities of combinations, or of edges."""

    @abstractmethod
    def node_edge_weights(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        """γ of the node's incoming edges, [incoming]."""

    @abstractmethod
    def node_kept(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        """How probable each incoming edge is in the derived cell, [incoming]; differentiable."""

    def node_choice(self, node: int, beta: Tensor, temperature: float) -> Combination:
        """The combination that the node keeps at the last temperature."""
        return self.choices.kept(len(self.cell.incoming[node]), beta.tolist())

    def edge_weights(self, temperature: Temperature) -> dict[str, Tensor]:
        """γ for each cell kind, [edges], in the order of the cell's edges (Eqs. 6 and 7)."""
        return {
            kind: torch.cat(
                [self.node_edge_weights(node, beta, temperature) for node, beta in self.nodes(kind)]
            )
            for kind in self.kinds
        }

    @torch.no_grad()
    def probabilities(self, temperature: float) -> dict[str, list[list[float]]]:
        """For the record: node_probabilities of each kind and node, as plain numbers."""
        return {
            kind: [
                self.node_probabilities(beta, temperature).tolist() for _, beta in self.nodes(kind)
            ]
            for kind in self.kinds
        }

    @torch.no_grad()
    def kept_edges(self, temperature: float) -> dict[str, tuple[int, ...]]:
        """For each cell kind the indices of the edges that the search keeps (Sec. 4.1).

        `temperature` is the one that the search ends with.
        """
        kept: dict[str, tuple[int, ...]] = {}
        for kind in self.kinds:
            indices: list[int] = []
            for node, beta in self.nodes(kind):
                incoming = self.cell.incoming[node]
                choice = self.node_choice(node, beta, temperature)
                indices += [incoming[position] for position in choice]
            kept[kind] = tuple(indices)
        return kept


class EdgeCombinations(Topology):
    """DOTS: β over edge combinations, γ = (softmax(β / T) / N) · membership (Eqs. 5-7)."""

    def __init__(self, space: SearchSpace, edges: EdgeChoice, *, normalise: bool) -> None:
        super().__init__(space, node_choices("combinations", edges))
        for node, incoming in enumerate(space.cell.incoming):
            table = membership(len(incoming), edges, normalise=normalise)
            self.register_buffer(f"membership{node}", table, persistent=False)

    def node_probabilities(self, beta: Tensor, temperature: Temperature) -> Tensor:
        return softmax(beta, temperature)

    def node_edge_weights(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        table: Tensor = getattr(self, f"membership{node}")
        return self.node_probabilities(beta, temperature) @ table.to(beta.dtype)

    def node_kept(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        """The sum over the combinations that hold the edge."""
        table: Tensor = getattr(self, f"membership{node}")
        probabilities = self.node_probabilities(beta, temperature)
        return probabilities @ (table > 0).to(probabilities.dtype)


class EdgeSoftmax(Topology):
    """The ablation's PC-DARTS edge weights: one scalar an edge, softmax at each node.

    The `keep` heaviest edges of a node are kept. No source gives a temperature; the one of
    the combinations is used.
    """

    def __init__(self, space: SearchSpace, keep: int) -> None:
        super().__init__(space, node_choices("edges", keep))
        self.keep = keep

    def node_probabilities(self, beta: Tensor, temperature: Temperature) -> Tensor:
        return softmax(beta, temperature)

    def node_edge_weights(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        return softmax(beta, temperature)

    def node_kept(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        """The edge's share times how many are kept, at most 1."""
        probabilities = self.node_probabilities(beta, temperature)
        return (probabilities * min(self.keep, len(probabilities))).clamp_max(1.0)


class EdgeSigmoid(Topology):
    """The ablation's edge-level sigmoid: γ = σ(b / T), above a threshold at last edges are kept.

    No source gives the threshold, the temperature or what becomes of a node without an edge
    above the threshold: it keeps its best one.
    """

    def __init__(self, space: SearchSpace, threshold: float) -> None:
        super().__init__(space, node_choices("sigmoid", threshold=threshold))
        self.threshold = threshold

    def node_probabilities(self, beta: Tensor, temperature: Temperature) -> Tensor:
        return torch.sigmoid(beta / temperature)

    def node_edge_weights(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        return torch.sigmoid(beta / temperature)

    def node_kept(self, node: int, beta: Tensor, temperature: Temperature) -> Tensor:
        return self.node_probabilities(beta, temperature)

    def node_choice(self, node: int, beta: Tensor, temperature: float) -> Combination:
        gamma = self.node_edge_weights(node, beta, temperature)
        above = (gamma > self.threshold).nonzero().flatten().tolist()
        return tuple(above) or (int(beta.argmax()),)


def make_topology(
    space: SearchSpace,
    *,
    parameterisation: str,
    edges: EdgeChoice,
    normalise: bool,
    threshold: float,
) -> Topology:
    """The topology parameters that a recipe asks for; all start at zero."""
    match parameterisation:
        case "combinations":
            return EdgeCombinations(space, edges, normalise=normalise)
        case "edges":
            return EdgeSoftmax(space, edges if isinstance(edges, int) else 2)
        case "sigmoid":
            return EdgeSigmoid(space, threshold)
    raise ValueError(f"no topology parameterisation {parameterisation!r}")


def entropy(probabilities: Mapping[str, list[list[float]]]) -> float:
    """The mean entropy over nodes in nats, relative to the uniform choice's: 1 = undecided."""
    shares: list[float] = []
    for nodes in probabilities.values():
        for node in nodes:
            if len(node) > 1:
                p = torch.tensor(node, dtype=torch.float64)
                nats = -(p * p.clamp_min(1e-300).log()).sum()
                shares.append(float(nats / torch.log(torch.tensor(float(len(node))))))
    return sum(shares) / len(shares) if shares else 0.0
