"""DARTS- (Chu et al., ICLR 2021): an auxiliary skip takes from skips their unfair advantage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dots.nas.relaxation import softmax
from dots.nas.strategies.base import GradientSearch, MethodSettings, Mixtures, Phase
from dots.nas.strategies.darts import Darts
from dots.networks.kernels.node_sum import Term
from dots.networks.operations.candidates import FactorizedReduce, Identity
from dots.networks.operations.source import Source
from dots.networks.supernet import EdgePlan, MixedEdge, Mixture, Supernet
from dots.training.schedules import cosine, linear


class DartsMinusSettings(MethodSettings):
    """DARTS-' own settings; the defaults are the published ones."""

    auxiliary: float = Field(
        default=1.0, ge=0, le=100, description="b0, the auxiliary skip's weight in the first epoch"
    )
    decay: Literal["linear", "cosine"] = Field(
        default="linear", description="how that weight falls, to reach zero after the last epoch"
    )


class AuxiliaryEdge(MixedEdge):
    """A mixed edge plus b times a skip: the input itself, or a factorised reduction of it."""

    share: Tensor
    """b, 0-d."""

    def __init__(self, plan: EdgePlan) -> None:
        super().__init__(plan)
        self.auxiliary = (
            Identity()
            if plan.stride == 1
            else FactorizedReduce(plan.channels, plan.channels, affine=False)
        )
        # Not in the state: it follows from the epoch.
        self.register_buffer("share", torch.zeros(()), persistent=False)

    def forward(
        self,
        source: Source,
        weights: Sequence[Tensor],
        edge_weight: Tensor | None,
        active: Sequence[bool],
    ) -> list[Term]:
        terms = super().forward(source, weights, edge_weight, active)
        scale = self.share if edge_weight is None else self.share * edge_weight
        return [*terms, self.auxiliary(source).weighted(scale)]


class DartsMinus(GradientSearch):
    """First-order DARTS on edges that have an auxiliary skip without α, which fades away.

    The auxiliary skip carries what makes every skip help the training, so that a candidate
    skip is judged by what it adds. It has no part in the derived cell.
    """

    name: ClassVar[str] = "darts-minus"
    Settings: ClassVar[type[MethodSettings]] = DartsMinusSettings
    published: ClassVar[Mapping[str, object]] = Darts.published
    method: DartsMinusSettings

    def build_supernet(self) -> Supernet:
        return self.context.supernet(self.searched_candidates(), make_edge=AuxiliaryEdge)

    def mixtures(self, phase: Phase) -> Mixtures:
        return {kind: Mixture(softmax(alpha)) for kind, alpha in self.alpha.items()}

    def auxiliary_weight(self, epoch: int) -> float:
        """b of this epoch: b0 · (E - e) / E, or half a cosine; E is the search's own length."""
        start, epochs = self.method.auxiliary, self.settings.epochs
        if self.method.decay == "cosine":
            return cosine(start, 0.0, epoch, epochs)
        return linear(start, 0.0, epoch, epochs + 1)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        share = self.auxiliary_weight(epoch)
        for module in self.supernet.modules():
            if isinstance(module, AuxiliaryEdge):
                module.share.fill_(share)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {"auxiliary": self.auxiliary_weight(epoch)}
