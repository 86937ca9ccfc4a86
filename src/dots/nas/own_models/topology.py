"""The second stage of a model: β over its inputs, α' over the layers that are left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dots.nas.own_models.choices import Choices, input_choices
from dots.nas.own_models.network import INPUTS, LAYER, ModelSpace, label
from dots.nas.topology import Topology, make_topology
from dots.nas.topology_search import TopologyStage
from dots.recipe.settings import TopologySettings
from dots.space.edge_combinations import node_choices
from dots.space.search_space import CellSpec, SearchSpace


class ModelTopology(Topology):
    """One node's topology for each input choice; layer choices have none, and weigh one."""

    def __init__(self, space: ModelSpace, model: nn.Module, settings: TopologySettings) -> None:
        nn.Module.__init__(self)  # the nodes have the parameters
        self.cell, self.kinds = space.cell, space.kinds
        self.choices = node_choices(settings.parameterisation, 1, settings.threshold)
        choices = input_choices(model)
        self.parts = nn.ModuleDict()
        for kind, name in space.labels(INPUTS).items():
            one = choices[name][0]
            self.parts[kind] = make_topology(
                SearchSpace(kind, CellSpec(one.inputs, 1, "last"), (kind,), (), "own"),
                parameterisation=settings.parameterisation,
                edges=one.keep,
                normalise=settings.normalise,
                threshold=settings.threshold,
            )

    def _part(self, kind: str) -> Topology:
        part = self.parts[kind]
        assert isinstance(part, Topology)
        return part

    def nodes(self, kind: str) -> Iterator[tuple[int, Tensor]]:
        return self._part(kind).nodes(kind) if kind in self.parts else enumerate(())

    def edge_weights(self, temperature: float | Tensor) -> dict[str, Tensor]:
        """γ of each input choice, [inputs]."""
        one = torch.ones(1, device=next((p.device for p in self.parameters()), None))
        return {
            kind: self._part(kind).edge_weights(temperature)[kind] if kind in self.parts else one
            for kind in self.kinds
        }

    @torch.no_grad()
    def probabilities(self, temperature: float) -> dict[str, list[list[float]]]:
        parts = (self._part(kind).probabilities(temperature) for kind in self.parts)
        return {kind: nodes for part in parts for kind, nodes in part.items()}

    @torch.no_grad()
    def kept_edges(self, temperature: float) -> dict[str, tuple[int, ...]]:
        """For each input choice the positions that are kept."""
        parts = (self._part(kind).kept_edges(temperature) for kind in self.parts)
        return {kind: kept for part in parts for kind, kept in part.items()}

    def node_probabilities(self, beta: Tensor, temperature: float | Tensor) -> Tensor:
        raise NotImplementedError("each input choice has its own")

    def node_edge_weights(self, node: int, beta: Tensor, temperature: float | Tensor) -> Tensor:
        raise NotImplementedError("each input choice has its own")

    def node_kept(self, node: int, beta: Tensor, temperature: float | Tensor) -> Tensor:
        raise NotImplementedError("each input choice has its own")


class ModelTopologyStage(TopologyStage):
    """The topology search of a model: the same steps, and no cell to derive."""

    def current(self) -> None:  # type: ignore[override]
        return None

    @torch.no_grad()
    def chosen(self) -> Choices:
        """argmax of α' of every layer choice, and of β of every input choice."""
        assert isinstance(self.space, ModelSpace)
        layers = {}
        for kind, name in self.space.labels(LAYER).items():
            candidates, names = self.candidates[kind][0], self.space.layers[kind]
            best = int(self.gates.choice(kind)[0, : len(candidates)].argmax())
            layers[name] = names[int(candidates[best])]
        kept = self.topology.kept_edges(self.settings.t_end)
        return Choices(layers, {label(kind): places for kind, places in kept.items()})

    def snapshot(self, epoch: int) -> dict[str, Any]:
        return {"stage": self.name, "epoch": epoch, "temperature": self.temperature}
