"""SmoothDARTS (Chen and Hsieh, ICML 2020): w learns under perturbed architecture weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from dots.data.batch import Batch
from dots.nas.relaxation import softmax
from dots.nas.strategies.base import (
    GradientSearch,
    MethodSettings,
    Mixtures,
    Phase,
    SearchContext,
    seven_operations,
    without_zero,
)
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.sampling import moved
from dots.networks.supernet import Mixture
from dots.training.engine import StepResult, frozen
from dots.training.schedules import linear

Weights = dict[str, Tensor]
"""Mixing weights A [edges, operations] of each cell kind."""


class PerturbationSettings(MethodSettings):
    """The settings of both; the defaults are the published ones."""

    epsilon_start: float = Field(
        default=0.03, ge=0, le=1, description="ε, the largest change of a weight, at first"
    )
    epsilon_end: float = Field(default=0.3, ge=0, le=1, description="ε after the last epoch")
    zero: bool | None = Field(
        default=None,
        description="search Zero too; absent: as published, in every space but darts",
    )


class AttackSettings(PerturbationSettings):
    """What the attack adds."""

    attack_steps: int = Field(
        default=7, ge=1, le=1000, description="gradient steps of the attack, each of 2ε over them"
    )


class Perturbed(GradientSearch):
    """Abstract: first-order DARTS whose weight step sees perturbed mixing weights.

    α itself stays as it is, and its own step sees softmax(α). ε grows with the epochs.
    """

    published: ClassVar[Mapping[str, object]] = Darts.published
    method: PerturbationSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.epsilon = self.method.epsilon_start
        self.perturbed: Weights = {}
        """What the last weight step saw."""

    def searched_operations(self) -> tuple[str, ...]:
        space = self.context.space
        if self.method.zero is None:
            return seven_operations(space)
        return space.operations if self.method.zero else without_zero(space)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        start, end = self.method.epsilon_start, self.method.epsilon_end
        self.epsilon = linear(start, end, epoch, self.settings.epochs + 1)

    def why_steps_differ(self, epoch: int) -> str:
        return f"{self.name} draws on the host in each step"

    def mixtures(self, phase: Phase) -> Mixtures:
        if phase == "weights" and self.perturbed:
            return as_mixtures(self.perturbed)
        return as_mixtures(self._clean())

    def _clean(self) -> Weights:
        return {kind: softmax(alpha) for kind, alpha in self.alpha.items()}

    def weight_step(self, batch: Batch) -> StepResult:
        with torch.no_grad():
            clean = self._clean()
        self.perturbed = self.perturb(clean, batch)
        return super().weight_step(batch)

    @abstractmethod
    def perturb(self, clean: Weights, batch: Batch) -> Weights:
        """Mixing weights near `clean` for the weight step on `batch`; no gradients."""

    def random_neighbour(self, clean: Weights) -> Weights:
        """clean + U(-ε, ε), projected."""
        drawn = {kind: uniform(weights, self.epsilon) for kind, weights in clean.items()}
        noise = moved(drawn, self.engine.device)
        return {kind: onto_simplex(weights + noise[kind]) for kind, weights in clean.items()}


class SdartsRs(Perturbed):
    """Random smoothing: one uniform draw for each weight step."""

    name: ClassVar[str] = "sdarts-rs"
    Settings: ClassVar[type[MethodSettings]] = PerturbationSettings

    def perturb(self, clean: Weights, batch: Batch) -> Weights:
        return self.random_neighbour(clean)


class SdartsAdv(Perturbed):
    """Adversarial: the mixing weights in the ε-ball that are worst for the training batch.

    Found by projected gradient ascent from a random start, with the batch norms in
    evaluation mode: the attack neither depends on nor changes their batch statistics.
    """

    name: ClassVar[str] = "sdarts-adv"
    Settings: ClassVar[type[MethodSettings]] = AttackSettings
    method: AttackSettings

    def perturb(self, clean: Weights, batch: Batch) -> Weights:
        """The end of the attack, or `clean` where that has the larger loss."""
        self.supernet.eval()
        with frozen(self.supernet):
            worst = self._attack(clean, batch)
            rose = self._loss(worst, batch) >= self._loss(clean, batch)
        self.supernet.train()
        return {kind: torch.where(rose, worst[kind], clean[kind]) for kind in clean}

    def _attack(self, clean: Weights, batch: Batch) -> Weights:
        start = self.random_neighbour(clean)
        attacked = {kind: nn.Parameter(weights) for kind, weights in start.items()}
        size = 2 * self.epsilon / self.method.attack_steps

        def objective(part: Batch) -> tuple[Tensor, Tensor]:
            logits = self.supernet(part.images, as_mixtures(attacked))
            return self.weight_loss(logits, part.labels), logits

        for _ in range(self.method.attack_steps):
            self.engine.gradients(batch, objective, list(attacked.values()))
            for kind, weights in attacked.items():
                with torch.no_grad():
                    weights.copy_(ascend(weights, clean[kind], size, self.epsilon))
        return {kind: weights.detach() for kind, weights in attacked.items()}

    @torch.no_grad()
    def _loss(self, weights: Weights, batch: Batch) -> Tensor:
        """The loss on the batch of all processes, 0-d."""
        with self.engine.autocast():
            logits = self.supernet(self.engine.input(batch.images), as_mixtures(weights))
        loss = self.weight_loss(logits, batch.labels)
        processes = self.engine.processes
        if processes.world == 1:
            return loss
        return processes.mean(loss * (len(batch.labels) * processes.world / batch.total))


def as_mixtures(weights: Mapping[str, Tensor]) -> Mixtures:
    return {kind: Mixture(row) for kind, row in weights.items()}


def uniform(like: Tensor, epsilon: float) -> Tensor:
    """U(-ε, ε) in shape and type of `like`, on the CPU: the same for every device."""
    return torch.empty(like.shape).uniform_(-epsilon, epsilon).to(like.dtype)


def ascend(weights: Tensor, clean: Tensor, size: float, epsilon: float) -> Tensor:
    """One step along the sign of `weights.grad`, into the ε-ball of `clean`, projected.

    Without a gradient, as of a cell kind that the supernet has no cell of, nothing moves.
    """
    if weights.grad is None:
        return weights
    return onto_simplex(into_ball(weights + size * weights.grad.sign(), clean, epsilon))


def into_ball(weights: Tensor, clean: Tensor, epsilon: float) -> Tensor:
    """The nearest point that differs from `clean` by at most ε in every entry."""
    return torch.clamp(weights, clean - epsilon, clean + epsilon)


def onto_simplex(weights: Tensor) -> Tensor:
    """Rows clamped to [0, 1] and divided by their sum; [E, O] -> [E, O].

    As published; the division may lead out of the ε-ball. A row without a positive entry
    becomes one-hot at its largest.
    """
    clamped = weights.clamp(0, 1)
    total = clamped.sum(dim=1, keepdim=True)
    largest = nn.functional.one_hot(weights.argmax(dim=1), weights.shape[1]).to(weights)
    return torch.where(total > 0, clamped / total.where(total > 0, 1), largest)
