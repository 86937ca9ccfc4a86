"""Uniformly random operations: what every search must beat."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from dots.common.seeding import isolated_random_state, seed_step
from dots.data.batch import Batch
from dots.nas.strategies.base import MethodSettings, OperationSearch, ScoreTable, SearchContext
from dots.training.engine import StepResult


class RandomOperations(OperationSearch):
    """Scores drawn uniformly, from the seed alone; nothing is trained.

    Each edge's scores are uniform on the simplex, independent and alike for all operations.
    So every choice among them (the best of an edge or of a group, the best edges of a node)
    is uniform too. The search is over after one pass, whose loss and accuracy are those of
    the guess that all classes are equally likely.
    """

    name: ClassVar[str] = "random"

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        space = context.space
        with isolated_random_state():
            seed_step(context.seed, "operations", "random")
            drawn = {
                kind: torch.empty(len(space.cell.edges), len(space.operations)).exponential_()
                for kind in space.kinds
            }
        self.table = {kind: rows / rows.sum(dim=1, keepdim=True) for kind, rows in drawn.items()}

    def wants_architecture_batch(self, epoch: int) -> bool:
        return False

    def set_epoch(self, epoch: int) -> None:
        """Nothing depends on the epoch."""

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        classes = self.context.shape.classes
        loss = torch.full((), math.log(classes), device=batch.labels.device)
        return StepResult(loss, (batch.labels == 0).sum(), len(batch.labels))

    def finished(self, epoch: int) -> bool:
        return True

    def mixing_weights(self) -> ScoreTable:
        return {kind: rows.tolist() for kind, rows in self.table.items()}

    def evaluate(self, images: Tensor) -> Tensor:
        """The same logit for every class."""
        return images.new_zeros(len(images), self.context.shape.classes)

    def state(self) -> dict[str, Any]:
        return {"table": self.table}

    def load_state(self, state: dict[str, Any]) -> None:
        self.table = state["table"]
