"""DropNAS (Hong et al., IJCAI 2020): grouped operation dropout in a one-level search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dots.common.errors import UserError
from dots.data.batch import Batch
from dots.nas.relaxation import masked_softmax, softmax
from dots.nas.strategies.base import (
    GradientSearch,
    MethodSettings,
    Mixtures,
    Phase,
    SearchContext,
    group_columns,
)
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.sampling import moved
from dots.networks.supernet import Mixture
from dots.recipe.settings import OperationSettings
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace
from dots.training.engine import StepResult
from dots.training.optimisers import ArchitectureOptimiser, WeightOptimiser, search_weight_optimiser

SCHEME = "drop-nas"
_UNTOUCHED = 1e-7
"""An α entry whose gradient is not larger had no part in the loss: it does not decay."""


class DropNasSettings(MethodSettings):
    """DropNAS' own settings; the defaults are the published ones."""

    drop_rate: float = Field(
        default=3e-5,
        ge=0,
        le=0.5,
        description="r: all of a group's operations would drop at once so often",
    )
    rank_by_alpha: bool = Field(
        default=True,
        description="rank the edges of the derived cell by α itself, as published, which is not "
        "comparable between edges; false: by its softmax",
    )


class DropNas(GradientSearch):
    """Operations of each of two groups drop out at random; one softmax over those that stay.

    One level: w and α learn from one gradient on all images. Dropped operations do not run.
    The draw is made once a step and shared by all cells of a kind, and by the parts of an
    accumulated batch.
    """

    name: ClassVar[str] = "drop-nas"
    Settings: ClassVar[type[MethodSettings]] = DropNasSettings
    one_level: ClassVar[bool] = True
    operations_per_edge: ClassVar[Mapping[Phase, tuple[int, int]]] = MappingProxyType(
        {"weights": (2, 8), "architecture": (2, 8)}
    )
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **Darts.published,
            "epochs": 76, "cells": 14, "batch": 96, "lr": 0.0375, "lr_min": 0.0015, "clip": 3.0,
        }
    )  # fmt: skip
    method: DropNasSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        self.groups = group_columns(context.space, context.space.groups_for(SCHEME))
        super().__init__(context, method)
        self.kept: dict[str, Tensor] = {}
        """What the last step kept, [edges, operations] of bool, on the CPU."""
        self._kept_there: dict[str, Tensor] = {}

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        if SCHEME not in space.groups:
            raise UserError(
                f"the strategy {cls.name!r} needs two groups of operations, which the search "
                f"space {space.name!r} does not have: choose the space 'darts'"
            )
        grouped = {op for group in space.groups_for(SCHEME) for op in group}
        for op in space.operations:
            if op not in grouped:
                raise UserError(
                    f"the strategy {cls.name!r} has no group for the operation {op!r} of the "
                    f"search space {space.name!r}: leave it out"
                )

    def build_weight_optimiser(self) -> WeightOptimiser:
        plain = self.settings.model_copy(update={"weight_decay": 0.0})
        return search_weight_optimiser(self.supernet.parameters(), plain)

    def build_architecture_optimiser(self) -> ArchitectureOptimiser:
        plain = self.settings.model_copy(update={"arch_weight_decay": 0.0})
        return ArchitectureOptimiser(self.architecture_parameters(), plain)

    def mixtures(self, phase: Phase) -> Mixtures:
        if phase == "evaluation" or not self.kept:
            return {kind: Mixture(softmax(alpha)) for kind, alpha in self.alpha.items()}
        return {
            kind: Mixture(
                masked_softmax(self.alpha[kind], self._kept_there[kind]),
                active=tuple(tuple(row) for row in kept.tolist()),
            )
            for kind, kept in self.kept.items()
        }

    def why_steps_differ(self, epoch: int) -> str:
        return f"{self.name} draws the operations of each step"

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        """Draw, train w and α, decay both, and give the kept operations their mass back."""
        edges = len(self.context.space.cell.edges)
        self.kept = {
            kind: draw_kept(edges, self.groups, self.method.drop_rate) for kind in self.alpha
        }
        self._kept_there = moved(self.kept, self.engine.device)
        before = self._log_odds()
        if not self.trains_architecture(epoch):
            result = self.weight_step(batch)
            self._decay_weights()
            return result
        result = self.joint_step(batch)
        self._decay_weights()
        self._decay_architecture()
        self._restore_mass(before)
        return result

    def _decay_weights(self) -> None:
        """A second step of SGD, on λ·Σ‖w‖² of the weights that the first one trained.

        Without a factor ½ the pull is 2λw, twice the usual one, as published.
        """
        for weight in self.weight_optimiser.parameters:
            if weight.grad is not None:
                weight.grad = 2 * self.settings.weight_decay * weight.detach()
        self.weight_optimiser.apply()

    def _decay_architecture(self) -> None:
        """A second step of Adam, on λ·Σα² of the entries that had a gradient."""
        for alpha in self.alpha.values():
            if alpha.grad is not None:  # as of a cell kind that the supernet has no cell of
                touched = alpha.grad.abs() > _UNTOUCHED
                alpha.grad = 2 * self.settings.arch_weight_decay * alpha.detach() * touched
        self.architecture_optimiser.apply()

    @torch.no_grad()
    def _log_odds(self) -> dict[str, Tensor]:
        return {kind: log_odds(self.alpha[kind], kept) for kind, kept in self._kept_there.items()}

    @torch.no_grad()
    def _restore_mass(self, before: Mapping[str, Tensor]) -> None:
        """Shift the kept α so that kept and dropped operations share the mass as before."""
        for kind, after in self._log_odds().items():
            kept = self._kept_there[kind]
            dropped = ~kept.all(dim=1)
            shift = torch.where(dropped, before[kind] - after, 0.0)
            self.alpha[kind] += shift[:, None] * kept

    def derive(self) -> Genotype:
        if not self.method.rank_by_alpha:
            return super().derive()
        raw = {kind: self.over_space(alpha) for kind, alpha in self.alpha.items()}
        return derive_darts(self.context.space, raw)


def draw_kept(edges: int, groups: Sequence[Sequence[int]], rate: float) -> Tensor:
    """Which operations stay, [edges, operations] of bool, drawn from torch's CPU generator.

    Each drops with probability rate^(1/|group|), independently; a group that would be empty
    on an edge is drawn again. On the CPU, so that no device has to be waited for.
    """
    kept = torch.zeros(edges, sum(len(group) for group in groups), dtype=torch.bool)
    for group in groups:
        probability = rate ** (1 / len(group))
        drawn = torch.rand(edges, len(group)) >= probability
        while (empty := ~drawn.any(dim=1)).any():
            drawn[empty] = torch.rand(int(empty.sum()), len(group)) >= probability
        kept[:, list(group)] = drawn
    return kept


def log_odds(alpha: Tensor, kept: Tensor) -> Tensor:
    """log(ρ / (1 - ρ)), ρ the kept operations' share of Σ exp(α); [E, O] -> [E].

    Infinite where nothing is dropped.
    """
    inside = alpha.masked_fill(~kept, -torch.inf).logsumexp(dim=1)
    outside = alpha.masked_fill(kept, -torch.inf).logsumexp(dim=1)
    return inside - outside
