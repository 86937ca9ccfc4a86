"""The third stage: a derived network is trained from scratch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dots.common.seeding import seed_step
from dots.data.batch import Batch, BatchSource
from dots.recipe.settings import TrainSettings
from dots.training.engine import Engine, StepResult
from dots.training.loop import Pair, State
from dots.training.optimisers import WeightOptimiser, training_rate


class Trainable(Protocol):
    """What the training asks of a network (a torch module) besides learning."""

    drop_path: float
    """Probability of dropping a path; the training sets it."""

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B, classes], and those of an auxiliary head, or None without one."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def train(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class TrainingStage:
    """Trains a network from scratch, with auxiliary head, drop path, label smoothing as set."""

    def __init__(
        self,
        network: Trainable,
        settings: TrainSettings,
        engine: Engine,
        batches: BatchSource,
        name: str = "train",
    ) -> None:
        self.name = name
        self.network = network
        self.settings = settings
        self.engine = engine
        self.own_batches = batches
        self.epochs = settings.epochs
        self.steps = batches.steps
        self.optimiser = WeightOptimiser(
            network.parameters(),
            training_rate(settings),
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            nesterov=settings.nesterov,
            decay_norms=settings.decay_norms,
        )
        engine.forget_steps()  # a captured one trains another network

    @property
    def lr(self) -> float:
        return self.optimiser.lr

    def batches(self, epoch: int, start: int) -> Iterator[Pair]:
        return ((batch, None) for batch in self.own_batches.epoch(epoch, start))

    def begin_epoch(self, epoch: int) -> None:
        """Nothing changes between epochs but the schedule."""

    def set_epoch(self, epoch: int) -> None:
        self.optimiser.set_epoch(epoch)
        self.network.train()
        self.network.drop_path = self.settings.drop_path * epoch / self.epochs

    def _objective(self, part: Batch) -> tuple[Tensor, Tensor]:
        smoothing = self.settings.label_smoothing
        logits, auxiliary = self.network.forward_with_auxiliary(part.images)
        loss = self.engine.cross_entropy(logits, part.labels, smoothing)
        if auxiliary is not None:
            extra = self.engine.cross_entropy(auxiliary, part.labels, smoothing)
            loss = loss + self.settings.auxiliary * extra
        return loss, logits

    def step(self, epoch: int, step: int, pair: Pair) -> StepResult:
        rank = self.engine.processes.rank
        if rank:  # other paths are dropped than on the main process; the rest draws nothing
            seed_step(torch.initial_seed(), "rank", rank)
        if self.settings.anneal == "step":
            self.optimiser.set_epoch(epoch + step / self.steps)
        return self.engine.step(self._step, pair[0], key=(self.name, self.network.drop_path))

    def _step(self, batch: Batch) -> StepResult:
        result = self.engine.gradients(batch, self._objective, self.optimiser.parameters)
        self.optimiser.apply()
        return result

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {}

    def snapshot(self, epoch: int) -> dict[str, Any] | None:
        return None

    def current(self) -> None:
        """The cell is given."""

    def finished(self, epoch: int) -> bool:
        return False

    def module(self) -> nn.Module:
        """The network with running statistics."""
        assert isinstance(self.network, nn.Module)
        return self.network

    def state(self) -> State:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state()}

    def load_state(self, state: State) -> None:
        self.engine.forget_steps()
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state(state["optimiser"])
