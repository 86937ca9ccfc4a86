"""GDAS (Dong & Yang, CVPR 2019): a hard sample, and only the sampled operation runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dots.common.errors import UserError
from dots.data.batch import Batch
from dots.nas.relaxation import softmax, straight_through
from dots.nas.strategies.base import MethodSettings, Mixtures, Phase, ScoreTable, SearchContext
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.sampling import ChoosingSearch, one_hot
from dots.networks.supernet import Mixture
from dots.recipe.settings import OperationSettings
from dots.space.search_space import SearchSpace
from dots.training.engine import StepResult
from dots.training.optimisers import WeightOptimiser, search_weight_optimiser
from dots.training.schedules import linear


class GdasSettings(MethodSettings):
    """Settings of GDAS; the temperatures are reached in the first and in the last epoch."""

    tau_start: float = Field(default=10.0, gt=0, description="temperature of the first epoch")
    tau_end: float = Field(default=0.1, gt=0, description="temperature of the last epoch")
    nesterov: bool = Field(default=True, description="Nesterov's momentum in the step of w")


class Gdas(ChoosingSearch):
    """One operation per edge, drawn by Gumbel-max; gradients through a softmax.

    With Gumbel noise g, p = softmax((log softmax(α) + g)/τ) and the edge's weights are
    one_hot(argmax p) in value and p in gradient. Only the chosen operation runs, so α learns
    from ⟨∂L/∂y, o_k(x)⟩ and the row of p's Jacobian that belongs to it. Per step w on half A
    first, then α on half B, with independent samples. τ falls linearly over the epochs.
    """

    name: ClassVar[str] = "gdas"
    Settings: ClassVar[type[MethodSettings]] = GdasSettings
    operations_per_edge: ClassVar[Mapping[Phase, tuple[int, int]]] = MappingProxyType(
        {"weights": (1, 1), "architecture": (1, 1), "evaluation": (1, 1)}
    )
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {**Darts.published, "epochs": 250, "cells": 6, "batch": 256, "weight_decay": 5e-4}
    )

    method: GdasSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.tau = self.method.tau_start

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        assert isinstance(method, GdasSettings)
        check_nesterov(cls.name, method.nesterov, settings)

    def build_weight_optimiser(self) -> WeightOptimiser:
        return search_weight_optimiser(
            self.supernet.parameters(), self.settings, nesterov=self.method.nesterov
        )

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.tau = linear(self.method.tau_start, self.method.tau_end, epoch, self.settings.epochs)

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        """w first, as published."""
        self.draw_noise()
        result = self.weight_step(batch)
        if held_out is not None:
            self.architecture_step(held_out)
        return result

    def mixtures(self, phase: Phase) -> Mixtures:
        active = self.active(phase)
        return {
            kind: Mixture(self._weights(kind, alpha, phase), active=active[kind])
            for kind, alpha in self.alpha.items()
        }

    @torch.no_grad()
    def choices(self, phase: Phase) -> dict[str, Tensor]:
        return {kind: self._weights(kind, alpha, phase) for kind, alpha in self.alpha.items()}

    def _weights(self, kind: str, alpha: Tensor, phase: Phase) -> Tensor:
        if phase == "evaluation":
            return one_hot(alpha)
        noise = self.noise[phase][kind][0]
        return straight_through(softmax(alpha.log_softmax(dim=-1) + noise, self.tau))

    def mixing_weights(self) -> ScoreTable:
        """The probability of each operation, softmax(α)."""
        return {kind: self.over_space(softmax(alpha)) for kind, alpha in self.alpha.items()}

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {"temperature": self.tau}


def check_nesterov(method: str, nesterov: bool, settings: OperationSettings) -> None:
    """Raise UserError where `method` wants Nesterov's momentum and there is no momentum."""
    if nesterov and settings.momentum == 0:
        raise UserError(
            f"{method} uses Nesterov's momentum, and operations.momentum is 0: raise it, or set "
            "method.nesterov=false"
        )
