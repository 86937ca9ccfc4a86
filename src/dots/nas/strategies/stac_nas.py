"""StacNAS (Li et al., 2019): first a cluster of similar operations, then one of its members."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dots.common.errors import UserError
from dots.data.batch import Batch
from dots.nas.strategies.base import MethodSettings
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.candidate_pruning import Tables
from dots.nas.strategies.shared.progressive import StagedSearch, scaled_cells
from dots.recipe.settings import OperationSettings
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.search_space import ZERO, Candidates, SearchSpace
from dots.training.engine import StepResult

SCHEME = "stac-nas"
UNTRIED = 0.999
"""An operation that never ran has so much of its representative's weight: it ranks behind."""


class StacNasSettings(MethodSettings):
    """How the derived cell is chosen."""

    rank_by_alpha: bool = Field(
        default=True,
        description="rank the edges of the derived cell by α itself, as published, which is not "
        "comparable between edges; false: by its softmax",
    )


class StacNas(StagedSearch):
    """One-level search in two stages on all images.

    Stage 1 has one representative of every cluster of correlated operations, and Zero. In
    stage 2 each edge has all members of the cluster that won there, and Zero; it starts anew,
    deeper by 20/14. The release doubles the skip in its cluster of one, which halves its
    weight; here it stands there once.
    """

    name: ClassVar[str] = "stac-nas"
    Settings: ClassVar[type[MethodSettings]] = StacNasSettings
    one_level: ClassVar[bool] = True
    stages = 2
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {**Darts.published, "epochs": 160, "cells": 14, "clip": 3.0}
    )

    method: StacNasSettings

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        if SCHEME not in space.groups:
            raise UserError(
                f"the strategy {cls.name!r} needs clusters of similar operations, and the search "
                f"space {space.name!r} declares none: choose another strategy or space"
            )

    @classmethod
    def first_candidates(cls, space: SearchSpace) -> Candidates:
        chosen = {group[0] for group in space.groups_for(SCHEME)} | {ZERO}
        names = tuple(op for op in space.operations if op in chosen)
        return dict.fromkeys(space.kinds, (names,) * len(space.cell.edges))

    def stage_cells(self) -> int:
        if self.stage == 0:
            return self.full_shape.cells
        return scaled_cells(self.context.space, self.full_shape.cells, 20, 14)

    def survivors(self, stage: int) -> Tables:
        """The cluster of each edge's best representative, and Zero."""
        groups = self.context.space.groups_for(SCHEME)
        columns = [self._column(group[0]) for group in groups]
        members = torch.stack([self._members(group) for group in groups])
        weights = self.operation_weights("evaluation")
        return {kind: members[table[:, columns].argmax(1)] for kind, table in weights.items()}

    def drop_weights(self) -> Tables:
        """The weights of stage 1; members that did not run rank behind their representative."""
        tables = {}
        for kind, weights in self.operation_weights("evaluation").items():
            table = weights.clone()
            for first, *others in self.context.space.groups_for(SCHEME):
                for name in others:
                    table[:, self._column(name)] = UNTRIED * weights[:, self._column(first)]
            tables[kind] = table
        return tables

    def _column(self, name: str) -> int:
        return self.context.space.operations.index(name)

    def _members(self, group: tuple[str, ...]) -> Tensor:
        inside = [op == ZERO or op in group for op in self.context.space.operations]
        return torch.tensor(inside, device=self.engine.device)

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        """One-level: w and α from the same gradient."""
        return (
            self.joint_step(batch) if self.trains_architecture(epoch) else self.weight_step(batch)
        )

    @torch.no_grad()
    def derive(self) -> Genotype:
        """The DARTS policy on raw α; an operation that was dropped ranks below all of them."""
        if not self.method.rank_by_alpha:
            return super().derive()
        table = {}
        for kind, scores in self.scores().items():
            alpha, kept = self.alpha[kind].tolist(), self.pruning.kept[kind].tolist()
            lowest = min(min(row) for row in alpha)
            table[kind] = [
                [raw if stays else lowest + score for raw, score, stays in zip(*rows, strict=True)]
                for rows in zip(alpha, scores, kept, strict=True)
            ]
        return derive_darts(self.context.space, table)
