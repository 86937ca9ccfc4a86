"""DrNAS (Chen et al., ICLR 2021): mixing weights drawn from a learnt Dirichlet distribution."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from dots.common.errors import UserError
from dots.nas.strategies.base import MethodSettings, Phase, SearchContext, seven_operations
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.candidate_pruning import Tables, heaviest
from dots.nas.strategies.shared.partial_channels import fitting_parts, partial_edges
from dots.nas.strategies.shared.progressive import StagedSearch
from dots.networks.supernet import EdgeFactory
from dots.recipe.settings import OperationSettings
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.search_space import Candidates, SearchSpace
from dots.training.optimisers import ArchitectureOptimiser

Parts = Annotated[int, Field(ge=1, le=64)]


class DrNasSettings(MethodSettings):
    """The two stages, and what keeps the concentration near one."""

    k: tuple[Parts, Parts] | None = Field(
        default=None,
        description="one in so many channels goes through the operations in stages 1 and 2; "
        "where that does not divide the channels, the largest divisor below it; absent: as "
        "published, 6 and 4, in nasbench201 all channels",
    )
    operations: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="operations left on an edge in stage 2, of 7, else in proportion; absent: as "
        "published, 4, in nasbench201 with absent k all, in a single stage",
    )

    def parts(self, space: SearchSpace) -> tuple[int, int]:
        """The share of the channels, one in so many, in each stage."""
        return self.k or ((1, 1) if space.skeleton == "nasbench201" else (6, 4))

    def prunes(self, space: SearchSpace) -> bool:
        """Whether there is a second stage, with fewer operations."""
        return space.skeleton != "nasbench201" or bool(self.k or self.operations)

    regulariser: Literal["decay", "kl"] = Field(
        default="decay",
        description="'decay': arch_weight_decay on α; 'kl': the divergence from the uniform "
        "Dirichlet distribution instead",
    )
    kl_weight: float = Field(
        default=1e-3, ge=0, le=1e3, description="weight of that divergence in the loss"
    )


class DrNas(StagedSearch):
    """Each forward draws the weights of an edge from Dirichlet(ELU(α) + 1), reparametrised.

    Partial channels as in PC-DARTS, without edge weights. After the first stage the lightest
    operations go, their α become zero, and the others get more channels: the new ones repeat
    the weights and the momentum of the old. Adam and the cosine run on. In NAS-Bench-201 the
    published search has all channels and a single stage. Zero is no candidate in the DARTS
    space (the published seven operations).
    """

    name: ClassVar[str] = "dr-nas"
    Settings: ClassVar[type[MethodSettings]] = DrNasSettings
    stages = 2
    restarts: ClassVar[bool] = False
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **Darts.published,
            "weight_epochs": 20, "cells": 20, "channels": 36, "lr": 0.1, "lr_min": 0.0,
            "arch_lr": 6e-4,
        }
    )  # fmt: skip
    published_imagenet: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **published,
            "cells": 14, "channels": 48, "batch": 512, "lr": 0.5, "arch_lr": 6e-3,
            "method.k": (6, 3),
        }
    )  # fmt: skip
    method: DrNasSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        assert isinstance(method, DrNasSettings)
        if not method.prunes(context.space):
            self.stages = 1
        super().__init__(context, method)

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        if len(seven_operations(space)) < 2:
            raise UserError(
                f"the strategy {cls.name!r} needs two operations to choose from, and the search "
                f"space {space.name!r} has fewer: choose another strategy or space"
            )

    @classmethod
    def first_candidates(cls, space: SearchSpace) -> Candidates:
        searched = seven_operations(space)
        return {
            kind: tuple(tuple(op for op in names if op in searched) for names in edges)
            for kind, edges in space.full_candidates.items()
        }

    def make_edge(self) -> EdgeFactory:
        parts = self.method.parts(self.context.space)[self.stage]
        return partial_edges(fitting_parts(self.full_shape.channels, parts))

    def build_architecture_optimiser(self) -> ArchitectureOptimiser:
        settings = self.settings
        if self.method.regulariser == "kl":
            settings = settings.model_copy(update={"arch_weight_decay": 0.0})
        return ArchitectureOptimiser(self.architecture_parameters(), settings)

    def concentration(self, kind: str) -> Tensor:
        """ELU(α) + 1 > 0 of the candidates, [E, K]: exp(α) for α <= 0, else α + 1."""
        alpha = self.pruning.gather(kind, self.alpha[kind])
        # ELU first and then one more would round to zero from α = -17 on.
        below = torch.where(alpha > 0, 0, alpha).exp()
        positive = torch.where(alpha > 0, alpha + 1, below)
        return positive.clamp(min=torch.finfo(positive.dtype).tiny)

    def operation_weights(self, phase: Phase) -> dict[str, Tensor]:
        """A draw for a step, the mean of the distribution for an evaluation."""
        return {kind: self._weights(kind, phase) for kind in self.alpha}

    def _weights(self, kind: str, phase: Phase) -> Tensor:
        concentration = self.concentration(kind)
        if phase == "evaluation":
            candidates = concentration / concentration.sum(1, keepdim=True)
        else:
            candidates = Dirichlet(concentration, validate_args=False).rsample()
        empty = candidates.new_zeros(self.alpha[kind].shape)
        return empty.scatter(1, self.pruning.columns[kind], candidates)

    def penalty(self) -> Tensor | None:
        """The divergence from Dirichlet(1), summed over edges and kinds, with 'kl'."""
        if self.method.regulariser != "kl":
            return None
        divergences = []
        for kind in self.alpha:
            concentration = self.concentration(kind)
            uniform = Dirichlet(torch.ones_like(concentration), validate_args=False)
            drawn = Dirichlet(concentration, validate_args=False)
            divergences.append(kl_divergence(drawn, uniform).sum())
        return self.method.kl_weight * torch.stack(divergences).sum()

    def survivors(self, stage: int) -> Tables:
        total = len(seven_operations(self.context.space))
        count = max(min(2, total), round(total * (self.method.operations or 4) / 7))
        kept = self.pruning.kept
        return {kind: heaviest(alpha, kept[kind], count) for kind, alpha in self.alpha.items()}

    @torch.no_grad()
    def enter(self, stage: int) -> None:
        super().enter(stage)
        for kind, alpha in self.alpha.items():
            alpha.masked_fill_(~self.pruning.kept[kind], 0.0)

    @torch.no_grad()
    def derive(self) -> Genotype:
        """The DARTS policy on softmax(α), as published: it ranks edges unlike the mean."""
        weights = {kind: self.pruning.softmax(kind, alpha) for kind, alpha in self.alpha.items()}
        return derive_darts(self.context.space, self.pruning.scores(weights))
