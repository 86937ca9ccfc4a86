"""Shapley-NAS (Xiao et al., CVPR 2022): α follows what each operation contributes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dots.data.batch import Batch
from dots.nas.relaxation import softmax
from dots.nas.strategies.base import (
    MethodSettings,
    Mixtures,
    Phase,
    SearchContext,
    SupernetSearch,
)
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.held_out import loss_and_accuracy
from dots.networks.supernet import Mixture
from dots.training.engine import StepResult


class ShapleyNasSettings(MethodSettings):
    """How contributions are estimated and followed; the defaults are the published ones."""

    permutations: int = Field(
        default=10, ge=1, le=10_000, description="orders of removal sampled for an epoch"
    )
    truncate: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="an order ends where the accuracy is below this share of the full one",
    )
    momentum: float = Field(
        default=0.8, ge=0, lt=1, description="share of the earlier contributions in the mean"
    )
    step: float = Field(
        default=0.1, gt=0, le=1e3, description="α moves by this times the mean contribution"
    )


class ShapleyNas(SupernetSearch):
    """A softmax over operations whose α takes no gradient but steps along Shapley values.

    The players are all operations of all edges of all cell kinds. Each of the first steps of
    an epoch takes one batch of half B and a random order, and removes the operations one by
    one from the mixture: an operation's value is the accuracy that its removal costs. At the
    last of them α moves: the score of an operation is the mean minus the standard deviation
    of its values, standardised over the table of its kind; m ← μ·m + (1-μ)·score, α ← α +
    step·m. The publication updates once an epoch too; which batches it uses is left open.
    """

    name: ClassVar[str] = "shapley-nas"
    Settings: ClassVar[type[MethodSettings]] = ShapleyNasSettings
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {**Darts.published, "weight_epochs": 25}
    )
    method: ShapleyNasSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.alpha = context.parameters(len(self.searched_operations()), 1e-3)
        self.alpha.requires_grad_(False)
        self.values: dict[str, Tensor] = {}
        """Of this epoch, [permutations so far, edges, operations], on the CPU."""
        self.mean = {kind: torch.zeros(alpha.shape) for kind, alpha in self.alpha.items()}
        """m, on the CPU."""
        self.sampling = True
        """Whether this epoch has still to move α."""

    def mixtures(self, phase: Phase) -> Mixtures:
        return {kind: Mixture(softmax(alpha)) for kind, alpha in self.alpha.items()}

    def begin_epoch(self, epoch: int) -> None:
        self.values, self.sampling = {}, True

    def why_steps_differ(self, epoch: int) -> str:
        learns = self.sampling and self.trains_architecture(epoch)
        return f"{self.name} begins each epoch with samples" if learns else ""

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        if held_out is not None and self.sampling:
            self.sample(held_out)
        return self.weight_step(batch)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """With fewer steps than permutations in the epoch, α moves by those there are."""
        if self.values and self.sampling:
            self.move()
        return {}

    def sample(self, held_out: Batch) -> None:
        """One random order on a batch; the last of the epoch moves α."""
        found = self.marginal_values(held_out)
        for kind, values in found.items():
            before = self.values.get(kind, values.new_zeros(0, *values.shape))
            self.values[kind] = torch.cat([before, values[None]])
        if len(next(iter(self.values.values()))) == self.method.permutations:
            self.move()

    def marginal_values(self, batch: Batch) -> dict[str, Tensor]:
        """The accuracy that the removal of each operation costs, in one random order.

        Those that are left when the order is cut short have none.
        """
        mixtures = self.mixtures("evaluation")
        columns = len(self.searched_operations())
        players = [
            (kind, *divmod(index, columns))
            for kind, alpha in self.alpha.items()
            for index in range(alpha.numel())
        ]
        values = {kind: torch.zeros(alpha.shape) for kind, alpha in self.alpha.items()}
        full = last = self._accuracy(mixtures, batch)
        for index in torch.randperm(len(players)).tolist():
            kind, edge, column = players[index]
            mixtures[kind].operations[edge, column] = 0.0
            now = self._accuracy(mixtures, batch)
            values[kind][edge, column] = last - now
            last = now
            if now < self.method.truncate * full:
                break
        return values

    def _accuracy(self, mixtures: Mixtures, batch: Batch) -> float:
        return loss_and_accuracy(self.supernet, mixtures, [batch], self.engine)[1]

    def move(self) -> None:
        """One step of α along the mean contributions."""
        keep, self.sampling = self.method.momentum, False
        for kind, alpha in self.alpha.items():
            self.mean[kind] = keep * self.mean[kind] + (1 - keep) * contributions(self.values[kind])
            alpha.add_(self.method.step * self.mean[kind].to(alpha))
        self.values = {}

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "alpha": self.alpha.state_dict(),
            "mean": dict(self.mean),
            "values": dict(self.values),
            "sampling": self.sampling,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.alpha.load_state_dict(state["alpha"])
        self.mean = {kind: mean.cpu() for kind, mean in state["mean"].items()}
        self.values = {kind: values.cpu() for kind, values in state["values"].items()}
        self.sampling = state["sampling"]


def contributions(values: Tensor) -> Tensor:
    """Mean minus standard deviation over the samples, standardised over the table.

    [samples, edges, operations] -> [edges, operations]; zero where all are alike.
    """
    score = values.mean(0) - values.std(0, correction=0)
    return (score - score.mean()) / score.std(correction=0).clamp_min(1e-12)
