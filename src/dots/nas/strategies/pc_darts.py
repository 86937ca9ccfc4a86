"""PC-DARTS (Xu et al., ICLR 2020): partial channels and edge normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.nas.relaxation import softmax
from dots.nas.strategies.base import GradientSearch, MethodSettings, Mixtures, Phase, SearchContext
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.partial_channels import partial_edges
from dots.networks.supernet import Mixture, Supernet
from dots.recipe.settings import OperationSettings
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.search_space import CellSpec, SearchSpace


class PcDartsSettings(MethodSettings):
    """The share of the channels that is searched."""

    k: int = Field(
        default=4, ge=1, le=64, description="one in so many channels goes through the operations"
    )


class PcDarts(GradientSearch):
    """DARTS on 1/K of the channels, and a weight for every edge of a node.

    The first C/K channels of an edge go through its operations, the others pass by. A node
    sums its edges with weights of their own, a softmax over its incoming edges; they share
    Adam with α. The cell without topology search goes by the product of both weights, the
    scores for the topology search by α alone, whose order on an edge is the product's.
    """

    name: ClassVar[str] = "pc-darts"
    Settings: ClassVar[type[MethodSettings]] = PcDartsSettings
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **Darts.published,
            "weight_epochs": 15, "batch": 256, "lr": 0.1, "lr_min": 0.0, "arch_lr": 6e-4,
        }
    )  # fmt: skip
    published_imagenet: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **published,
            "weight_epochs": 35, "batch": 1024, "lr": 0.5, "warmup_epochs": 5,
            "arch_lr": 6e-3, "arch_clip": 5.0, "method.k": 2,
        }
    )  # fmt: skip
    method: PcDartsSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        self.edge_alpha = context.parameters(1, self.spread, "edge-alpha")
        super().__init__(context, method)

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        assert isinstance(method, PcDartsSettings)
        if settings.channels % method.k:
            raise UserError(
                f"the strategy {cls.name!r} searches one in {method.k} channels, and "
                f"{settings.channels} do not divide by that: change method.k or "
                "operations.channels"
            )

    def build_supernet(self) -> Supernet:
        return self.context.supernet(make_edge=partial_edges(self.method.k))

    def architecture_parameters(self) -> list[nn.Parameter]:
        return [*self.alpha.parameters(), *self.edge_alpha.parameters()]

    def mixtures(self, phase: Phase) -> Mixtures:
        return {
            kind: Mixture(softmax(alpha), self.edge_weights(kind))
            for kind, alpha in self.alpha.items()
        }

    def edge_weights(self, kind: str) -> Tensor:
        """The softmax over the incoming edges of each node, [edges]."""
        return node_softmax(self.context.space.cell, self.edge_alpha[kind].flatten())

    @torch.no_grad()
    def derive(self) -> Genotype:
        """The DARTS policy on softmax(α) times the weight of the edge."""
        products = {
            kind: (softmax(alpha) * self.edge_weights(kind)[:, None]).tolist()
            for kind, alpha in self.alpha.items()
        }
        return derive_darts(self.context.space, products)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "edge_alpha": self.edge_alpha.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.edge_alpha.load_state_dict(state["edge_alpha"])


def node_softmax(cell: CellSpec, logits: Tensor) -> Tensor:
    """A softmax over the incoming edges of each node, [edges] -> [edges]."""
    nodes = torch.split(logits, [len(incoming) for incoming in cell.incoming])
    return torch.cat([softmax(edges) for edges in nodes])
