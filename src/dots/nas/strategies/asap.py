"""ASAP (Noy et al., AISTATS 2020): anneal the softmax, and prune what falls behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dots.common.errors import UserError
from dots.nas.strategies.base import MethodSettings, Phase, SearchContext
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.candidate_pruning import heaviest
from dots.nas.strategies.shared.progressive import PruningSearch
from dots.recipe.settings import OperationSettings
from dots.space.search_space import SearchSpace


class AsapSettings(MethodSettings):
    """Annealing and pruning. The constants are those of a re-implementation."""

    temperature: float = Field(
        default=1.6, gt=0, le=1e3, description="temperature of the softmax at the start"
    )
    decay: float = Field(
        default=0.95,
        gt=0,
        lt=1,
        description="factor of the temperature for every fiftieth of the search",
    )
    grace: float = Field(
        default=1.0, gt=0, le=1e3, description="α learns and is pruned below this temperature"
    )
    threshold: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="an operation goes when its weight is below this over the number of operations",
    )

    def temperature_at(self, epoch: int, epochs: int) -> float:
        """The temperature of an epoch: 1.6·0.95^e in a search of 50 epochs."""
        return float(self.temperature * self.decay ** (50 * epoch / epochs))


class Asap(PruningSearch):
    """DARTS whose softmax cools down, and whose light operations are removed for good.

    While the temperature is at least `grace` w learns alone. Afterwards every epoch starts
    by removing, on each edge, the operations with a weight below threshold / N, N being the
    operations that the edge had at first; the heaviest stays in any case. The remaining ones
    keep weights, momentum, α and Adam's state. The search ends when every edge has one.
    """

    name: ClassVar[str] = "asap"
    Settings: ClassVar[type[MethodSettings]] = AsapSettings
    published: ClassVar[Mapping[str, object]] = Darts.published
    method: AsapSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.temperature = self.method.temperature_at(0, self.settings.epochs)

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        assert isinstance(method, AsapSettings)
        last = method.temperature_at(settings.epochs - 1, settings.epochs)
        if last >= method.grace:
            raise UserError(
                f"the strategy {cls.name!r} never leaves its grace period: the temperature ends at "
                f"{last:.2g} and α learns below {method.grace:.2g}: raise operations.epochs or "
                "method.grace"
            )

    def trains_architecture(self, epoch: int) -> bool:
        """Below the temperature `grace`, after the settings' weight-only epochs if any."""
        cool = self.method.temperature_at(epoch, self.settings.epochs) < self.method.grace
        return cool and super().trains_architecture(epoch)

    def wants_architecture_batch(self, epoch: int) -> bool:
        """Where nothing is left to decide α has nothing to learn."""
        return super().wants_architecture_batch(epoch) and not self.pruning.decided

    def operation_weights(self, phase: Phase) -> dict[str, Tensor]:
        return {
            kind: self.pruning.softmax(kind, alpha, self.temperature)
            for kind, alpha in self.alpha.items()
        }

    def begin_epoch(self, epoch: int) -> None:
        self.temperature = self.method.temperature_at(epoch, self.settings.epochs)
        if self.trains_architecture(epoch):
            self.prune()

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.temperature = self.method.temperature_at(epoch, self.settings.epochs)

    @torch.no_grad()
    def prune(self) -> None:
        """Remove the operations below the threshold, and keep everything else as it is."""
        weights = self.operation_weights("evaluation")
        least = self.method.threshold / len(self.context.space.operations)
        kept = {}
        for kind, present in self.pruning.kept.items():
            best = heaviest(weights[kind], present, 1)
            kept[kind] = present & ((weights[kind] >= least) | best)
        if any(not torch.equal(kept[kind], old) for kind, old in self.pruning.kept.items()):
            self.pruning.prune(kept, weights)
            self.rebuild(carry=True)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "temperature": self.temperature}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.temperature = state["temperature"]

    def end_epoch(self, epoch: int) -> dict[str, float]:
        left = [len(names) for edges in self.pruning.candidates.values() for names in edges]
        return {"temperature": self.temperature, "operations_left": sum(left) / len(left)}

    def finished(self, epoch: int) -> bool:
        return self.pruning.decided
