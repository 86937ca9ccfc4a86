"""SGD for the weights on a closed-form schedule, Adam for the architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from dots.recipe.settings import SearchSettings, StageSettings, TrainSettings
from dots.training.engine import clip_gradients
from dots.training.schedules import cosine, linear


class WeightOptimiser:
    """SGD with clipped gradients; the learning rate is a function of the position alone.

    The position counts epochs; where a rate changes with every step it has a fraction. Without
    `decay_norms` vectors (scales and shifts of norms, biases) are not decayed.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        rate: Callable[[float], float],
        *,
        momentum: float,
        weight_decay: float,
        clip: float | None,
        nesterov: bool = False,
        decay_norms: bool = True,
    ) -> None:
        self.parameters = list(parameters)
        self.rate = rate
        self.clip = clip
        groups: list[dict[str, Any]] = [{"params": self.parameters}]
        if not decay_norms:
            vectors = [p for p in self.parameters if p.ndim < 2]
            matrices = [p for p in self.parameters if p.ndim >= 2]
            groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        self.sgd = torch.optim.SGD(
            groups,
            lr=rate(0),
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    @property
    def lr(self) -> float:
        return float(self.sgd.param_groups[0]["lr"])

    def set_epoch(self, epoch: float) -> None:
        """Use the learning rate of this epoch, or of a moment in it."""
        for group in self.sgd.param_groups:
            group["lr"] = self.rate(epoch)

    def apply(self) -> None:
        """Clip the gradients that are there and take the step."""
        clip_gradients(self.parameters, self.clip)
        self.sgd.step()

    def state(self) -> dict[str, Any]:
        return self.sgd.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        self.sgd.load_state_dict(state)


def warmed_up(settings: StageSettings, epoch: float, rate: float) -> float:
    """lr·(e+1)/w in the first w epochs e of a stage, the linear warm-up; then `rate`."""
    if epoch < settings.warmup_epochs:
        return settings.lr * (epoch + 1) / settings.warmup_epochs
    return rate


def search_rate(settings: SearchSettings) -> Callable[[float], float]:
    """The warm-up and the cosine of a search stage: epoch -> learning rate."""
    horizon = settings.lr_epochs or settings.epochs

    def rate(epoch: float) -> float:
        position = settings.lr_offset + epoch
        return warmed_up(settings, epoch, cosine(settings.lr, settings.lr_min, position, horizon))

    return rate


def training_rate(settings: TrainSettings) -> Callable[[float], float]:
    """The warm-up, then a cosine or a line over all epochs.

    With `anneal = "step"` the line of the warm-up goes from lr/25 to lr, and what follows
    starts at its end: with "linear" a triangle (OneCycle's, Smith 2018).
    """
    if settings.anneal == "step":
        return _one_cycle(settings)

    def rate(epoch: float) -> float:
        falling = cosine(settings.lr, settings.lr_min, epoch, settings.epochs)
        if settings.schedule == "linear":
            falling = linear(settings.lr, settings.lr_min, epoch, settings.epochs + 1)
        return warmed_up(settings, epoch, falling)

    return rate


def _one_cycle(settings: TrainSettings) -> Callable[[float], float]:
    warmup, left = settings.warmup_epochs, settings.epochs - settings.warmup_epochs

    def rate(epoch: float) -> float:
        if epoch < warmup:
            return settings.lr * (1 + 24 * epoch / warmup) / 25
        if settings.schedule == "linear":
            return linear(settings.lr, settings.lr_min, epoch - warmup, left + 1)
        return cosine(settings.lr, settings.lr_min, epoch - warmup, left)

    return rate


def search_weight_optimiser(
    parameters: Iterable[nn.Parameter], settings: SearchSettings, *, nesterov: bool = False
) -> WeightOptimiser:
    """The SGD of a search stage."""
    return WeightOptimiser(
        parameters,
        search_rate(settings),
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        nesterov=nesterov,
    )


class ArchitectureOptimiser:
    """Adam on architecture parameters, with optional clipping."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: SearchSettings) -> None:
        self.parameters = list(parameters)
        self.clip = settings.arch_clip
        self.adam = torch.optim.Adam(
            self.parameters,
            lr=settings.arch_lr,
            betas=settings.arch_betas,
            weight_decay=settings.arch_weight_decay,
        )

    def apply(self) -> None:
        """Clip the gradients that are there and take the step."""
        clip_gradients(self.parameters, self.clip)
        self.adam.step()

    def state(self) -> dict[str, Any]:
        return self.adam.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state)
