"""The first stage: a strategy searches the operations of every edge (paper Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn

from dots.data.batch import Batch, BatchSource
from dots.nas.strategies.base import OperationSearch
from dots.space.genotype import Genotype
from dots.training.engine import StepResult
from dots.training.loop import Pair, State


def cycle(batches: BatchSource, position: int) -> Iterator[Batch]:
    """The batches from the `position`-th on, epoch after epoch, without end."""
    epoch, step = divmod(position, batches.steps)
    while True:
        yield from batches.epoch(epoch, step)
        epoch, step = epoch + 1, 0


class OperationStage:
    """Drives an operation search over half A (or all images), with half B for α."""

    name = "operations"

    def __init__(
        self,
        strategy: OperationSearch,
        epochs: int,
        weight_batches: BatchSource,
        architecture_batches: BatchSource | None,
    ) -> None:
        self.strategy = strategy
        self.epochs = epochs
        self.weight_batches = weight_batches
        self.architecture_batches = architecture_batches
        self.steps = weight_batches.steps

    @property
    def lr(self) -> float:
        return self.strategy.lr

    def batches(self, epoch: int, start: int) -> Iterator[Pair]:
        own = self.weight_batches.epoch(epoch, start)
        if self.architecture_batches is None or not self.strategy.wants_architecture_batch(epoch):
            return ((batch, None) for batch in own)
        other = cycle(self.architecture_batches, epoch * self.steps + start)
        return zip(own, other, strict=False)

    def begin_epoch(self, epoch: int) -> None:
        self.strategy.begin_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        self.strategy.set_epoch(epoch)

    def step(self, epoch: int, step: int, pair: Pair) -> StepResult:
        strategy = self.strategy
        key, why = (self.name, strategy.step_key(epoch)), strategy.why_steps_differ(epoch)
        return strategy.context.engine.step(partial(strategy.step, epoch), *pair, key=key, why=why)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {**self.strategy.end_epoch(epoch), **self.strategy.expected_costs()}

    def snapshot(self, epoch: int) -> dict[str, Any]:
        return {"stage": self.name, "epoch": epoch, "alpha": self.strategy.mixing_weights()}

    def current(self) -> Genotype:
        """The cell that the scores give now, without topology search."""
        return self.strategy.derive()

    def finished(self, epoch: int) -> bool:
        return self.strategy.finished(epoch)

    def module(self) -> nn.Module | None:
        """The network with running statistics, if the strategy has one now."""
        return self.strategy.network

    def state(self) -> State:
        return self.strategy.state()

    def load_state(self, state: State) -> None:
        self.strategy.context.engine.forget_steps()
        self.strategy.load_state(state)
