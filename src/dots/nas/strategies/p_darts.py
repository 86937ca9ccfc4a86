"""P-DARTS (Chen et al., ICCV 2019): the search network deepens while the operations dwindle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from dots.common.errors import UserError
from dots.nas.strategies.base import MethodSettings, ScoreTable, SearchContext
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.candidate_pruning import Tables, heaviest
from dots.nas.strategies.shared.progressive import StagedSearch, scaled_cells
from dots.networks.operations.candidates import Identity
from dots.networks.operations.source import Parts, Source
from dots.networks.supernet import EdgeFactory, EdgePlan, MixedEdge
from dots.recipe.settings import OperationSettings
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.search_space import ZERO, SearchSpace

SKIP = "skip_connect"
Cells = Annotated[int, Field(ge=1, le=200)]
Share = Annotated[float, Field(ge=0, lt=1)]


class PDartsSettings(MethodSettings):
    """The three stages. Depths and numbers of operations are scaled to the recipe's."""

    cells: tuple[Cells, Cells, Cells] = Field(
        default=(5, 11, 17),
        description="cells of the three stages where the recipe has 8, else in proportion",
    )
    operations: tuple[Cells, Cells] = Field(
        default=(5, 3),
        description="operations left on an edge in stages 2 and 3, of 8, else in proportion",
    )
    skip_dropout: tuple[Share, Share, Share] = Field(
        default=(0.1, 0.4, 0.7), description="dropout on the skip connections of the three stages"
    )
    skip_decay: float = Field(
        default=0.2,
        ge=0,
        le=100,
        description="rate at which that dropout falls while α learns, per 1/25 of a stage",
    )
    max_skips: int = Field(
        default=2, ge=0, le=1000, description="skip connections of the derived normal cell, at most"
    )


class DroppedIdentity(Identity):
    """A skip connection at stride 1 with dropout of single values.

    Unlike those of `nn.Dropout`, the draws do not depend on how the features lie in memory.
    """

    def __init__(self, dropout: nn.Dropout) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, source: Source) -> Parts:
        x, share = source.x, self.dropout.p
        if not (self.dropout.training and share):
            return Parts(x, None, None)
        kept = torch.rand(x.shape, device=x.device) >= share
        return Parts(x * kept.to(x.dtype).div_(1 - share), None, None)


class SkipDropoutEdge(MixedEdge):
    """A mixed edge whose identity, where it has one, goes through `dropout`."""

    def __init__(self, plan: EdgePlan, dropout: nn.Dropout) -> None:
        super().__init__(plan)
        self.operations = nn.ModuleList(
            DroppedIdentity(dropout) if isinstance(operation, Identity) else operation
            for operation in self.operations
        )


class PDarts(StagedSearch):
    """DARTS in three stages of 5, 11 and 17 cells, with 8, 5 and 3 operations on an edge.

    Each stage starts anew and drops the lightest operations of every edge at its end. Skips
    at stride 1 have dropout: in the weight-only epochs it falls linearly from p0, then it
    starts again at p0 and falls exponentially. The derived normal cell has at most
    `max_skips` skips (`derive`). The p0 of the release's usage text are the default; its
    publication has 0 instead of 0.1 in the first stage.
    """

    name: ClassVar[str] = "p-darts"
    Settings: ClassVar[type[MethodSettings]] = PDartsSettings
    stages = 3
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **Darts.published,
            "epochs": 75, "weight_epochs": 30, "batch": 96, "lr_min": 0.0,
            "arch_lr": 6e-4, "arch_clip": 5.0,
        }
    )  # fmt: skip
    method: PDartsSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        self.dropout = nn.Dropout(0.0)
        super().__init__(context, method)

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        if SKIP not in space.operations:
            raise UserError(
                f"the strategy {cls.name!r} restricts skip connections, and the search space "
                f"{space.name!r} has none: choose another strategy or space"
            )
        if not set(space.operations) - {ZERO, SKIP}:
            raise UserError(
                f"the strategy {cls.name!r} needs an operation beside the skip connection, and the "
                f"search space {space.name!r} has none: choose another strategy or space"
            )

    def stage_cells(self) -> int:
        recipe = self.full_shape.cells
        return scaled_cells(self.context.space, recipe, self.method.cells[self.stage], 8)

    def make_edge(self) -> EdgeFactory:
        return lambda plan: SkipDropoutEdge(plan, self.dropout)

    def survivors(self, stage: int) -> Tables:
        total = len(self.context.space.operations)
        count = max(min(2, total), round(total * self.method.operations[stage - 1] / 8))
        weights = self.operation_weights("evaluation")
        return {
            kind: heaviest(weights[kind], kept, count) for kind, kept in self.pruning.kept.items()
        }

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.dropout.p = self.skip_dropout(epoch)

    def skip_dropout(self, epoch: int) -> float:
        """p0·(L-1-e)/L in the weight-only epochs, then p0·exp(-0.2·25·(e-w)/L).

        e: epochs of the stage behind, L: its length, w: its weight-only epochs. With L = 25
        and w = 10 these are the release's p0·(24-e)/25 and p0·exp(-0.2·(e-10)).
        """
        start = self.method.skip_dropout[self.schedule.stage(epoch)]
        position, length = self.schedule.position(epoch), self.schedule.length(epoch)
        past = position - self.schedule.weight_only(epoch)
        if past < 0:
            return start * (length - 1 - position) / length
        return start * math.exp(-self.method.skip_decay * 25 * past / length)

    def derive(self) -> Genotype:
        """The cell without topology search, its normal cell restricted to `max_skips` skips."""
        return restrict_skips(self.context.space, self.scores(), self.method.max_skips)


def restrict_skips(space: SearchSpace, scores: ScoreTable, most: int) -> Genotype:
    """The cell by the space's policy, with at most `most` skips in its normal cell.

    While there are more, the kept skip with the smallest score is struck from its edge, and
    the cell is derived again: another operation may take its place there, or another edge.
    """
    table = {kind: [list(row) for row in rows] for kind, rows in scores.items()}
    normal, skip = table["normal"], space.operations.index(SKIP)
    struck = min(min(row) for row in normal) - 1
    while True:
        genotype = derive_darts(space, table)
        skips = skip_edges(space, genotype)
        if len(skips) <= most:
            return genotype
        smallest = min(skips, key=lambda edge: normal[edge][skip])
        normal[smallest][skip] = struck


def skip_edges(space: SearchSpace, genotype: Genotype) -> list[int]:
    """The edges of the normal cell, by their index, that hold a skip connection."""
    return [
        space.cell.edges.index((edge.source, target))
        for target, node in enumerate(genotype.cells["normal"].nodes, start=space.cell.inputs)
        for edge in node
        if edge.op == SKIP
    ]
