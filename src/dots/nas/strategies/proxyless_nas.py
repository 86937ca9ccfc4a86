"""ProxylessNAS (Cai et al., ICLR 2019): binary gates; one path trains w, two train α."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dots.data.batch import Batch
from dots.nas.relaxation import masked_softmax, softmax
from dots.nas.strategies.base import MethodSettings, Mixtures, Phase, ScoreTable, SearchContext
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.gdas import check_nesterov
from dots.nas.strategies.shared.expected_operations import (
    Costs,
    Resource,
    expected_network,
    resource_costs,
)
from dots.nas.strategies.shared.sampling import ChoosingSearch, one_hot
from dots.nas.strategies.shared.unrolled import untouched_statistics
from dots.networks.supernet import Mixture
from dots.recipe.settings import OperationSettings
from dots.space.search_space import SearchSpace
from dots.training.engine import StepResult
from dots.training.optimisers import ArchitectureOptimiser, WeightOptimiser, search_weight_optimiser


class ProxylessNasSettings(MethodSettings):
    """Settings of ProxylessNAS; those of its optimisers override the recipe's."""

    paths: Literal["two", "all"] = Field(
        default="two", description="operations of an edge that the step of α runs"
    )
    weight_steps: int = Field(default=5, ge=1, description="steps of w for each step of α")
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="label smoothing in the step of w"
    )
    nesterov: bool = Field(default=True, description="Nesterov's momentum in the step of w")
    arch_beta1: float = Field(
        default=0.0, ge=0, lt=1, description="Adam's first beta, instead of arch_betas'"
    )
    arch_weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="L2 penalty on α, instead of operations'"
    )
    resource: Resource = Field(default="none", description="the cost that the loss also weighs")
    resource_form: Literal["add", "multiply"] = Field(
        default="add",
        description="add: L + weight·(E-r)/r; multiply: factor·L·(log E/log r)^exponent",
    )
    reference: float | None = Field(
        default=None,
        gt=0,
        description="the cost r of a derived network aimed at (parameters, multiply-adds, "
        "microseconds); none: the expected cost E at the start",
    )
    resource_weight: float = Field(default=0.1, ge=0, description="weight of the form 'add'")
    resource_factor: float = Field(default=0.2, gt=0, description="factor of 'multiply'")
    resource_exponent: float = Field(default=0.3, ge=0, description="exponent of 'multiply'")


class ProxylessNas(ChoosingSearch):
    """Gates g, one-hot per edge, drawn from p = softmax(α); only the paths needed run.

    The step of w draws one operation per edge. The step of α, on half B, draws two by p
    without replacement, makes one of them active by q (p renormalised over the two), runs
    both, and uses ∂L/∂α_i = Σ_j ∂L/∂g_j · q_j (δ_ij - q_i), where ∂L/∂g_j = ⟨∂L/∂y, o_j(x)⟩.
    Then both are shifted so that the probabilities of all others stay. With `paths` "all"
    every operation runs, and q is p. The gates of a cell kind are shared by its cells, so
    their gradients add up. The published search is at the same time one for low latency;
    here the cost is a setting.
    """

    name: ClassVar[str] = "proxyless-nas"
    Settings: ClassVar[type[MethodSettings]] = ProxylessNasSettings
    draws: ClassVar[int] = 2
    operations_per_edge: ClassVar[Mapping[Phase, tuple[int, int]]] = MappingProxyType(
        {"weights": (1, 1), "architecture": (2, 2), "evaluation": (1, 1)}
    )
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **Darts.published, "epochs": 160, "weight_epochs": 41, "batch": 256, "lr_min": 0.0,
            "weight_decay": 4e-5, "clip": None, "arch_lr": 1e-3,
        }
    )  # fmt: skip
    published_imagenet: ClassVar[Mapping[str, object]] = MappingProxyType(  # of its own networks
        {name: value for name, value in published.items() if name not in ("cells", "channels")}
    )
    method: ProxylessNasSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.steps_since = self.method.weight_steps
        """Steps of w since the last one of α. However short a search is, α takes one."""
        self.costs: Costs = {}
        self.rest, self.reference = 0.0, 0.0
        if self.method.resource != "none":
            size, device = context.image_size, self.engine.device
            self.costs, self.rest = resource_costs(
                context.space, context.shape, size, self.method.resource, device
            )
            self.reference = self.method.reference or self.expected_cost().detach().item()

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        assert isinstance(method, ProxylessNasSettings)
        check_nesterov(cls.name, method.nesterov, settings)

    def build_weight_optimiser(self) -> WeightOptimiser:
        return search_weight_optimiser(
            self.supernet.parameters(), self.settings, nesterov=self.method.nesterov
        )

    def build_architecture_optimiser(self) -> ArchitectureOptimiser:
        own = {
            "arch_betas": (self.method.arch_beta1, self.settings.arch_betas[1]),
            "arch_weight_decay": self.method.arch_weight_decay,
        }
        settings = self.settings.model_copy(update=own)
        return ArchitectureOptimiser(self.architecture_parameters(), settings)

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        """w in every step, then α in the first of each `weight_steps`."""
        self.draw_noise()
        result = self.weight_step(batch)
        if held_out is not None:
            if self.steps_since >= self.method.weight_steps:
                self.architecture_step(held_out)
                self.steps_since = 0
            self.steps_since += 1
        return result

    def weight_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.engine.cross_entropy(logits, labels, self.method.label_smoothing)

    def architecture_step(self, batch: Batch) -> StepResult:
        """One step of α; what was not sampled keeps its probability."""
        sampled = self.sampled()
        before = {kind: alpha.detach().clone() for kind, alpha in self.alpha.items()}
        result = super().architecture_step(batch)
        for kind, alpha in self.alpha.items():
            rescale(alpha, before[kind], sampled[kind])
        return result

    def mixtures(self, phase: Phase) -> Mixtures:
        if phase == "architecture":
            return self._gated()
        gates, active = self.choices(phase), self.active(phase)
        return {kind: Mixture(gates[kind], active=active[kind]) for kind in gates}

    @torch.no_grad()
    def choices(self, phase: Phase) -> dict[str, Tensor]:
        if phase == "architecture":
            return self.sampled()
        alphas: dict[str, Tensor] = dict(self.alpha.items())
        if phase == "weights":
            alphas = {kind: alpha + self.noise[phase][kind][0] for kind, alpha in alphas.items()}
        return {kind: one_hot(logits) for kind, logits in alphas.items()}

    def _gated(self) -> Mixtures:
        sampled, active = self.sampled(), self.active("architecture")
        mixtures = {}
        for kind, alpha in self.alpha.items():
            odds = masked_softmax(alpha, sampled[kind])
            noise = self.noise["architecture"][kind][1]
            chosen = one_hot((alpha + noise).masked_fill(~sampled[kind], -torch.inf))
            gates = chosen + (odds - odds.detach())  # the gate in value, q in gradient
            mixtures[kind] = Mixture(gates, active=active[kind])
        return mixtures

    @torch.no_grad()
    def sampled(self) -> dict[str, Tensor]:
        """The operations that this step of α runs, as masks [edges, operations].

        The largest entries of log p + Gumbel noise are a draw from p without replacement.
        """
        masks = {}
        for kind, alpha in self.alpha.items():
            count = alpha.shape[1] if self.method.paths == "all" else min(2, alpha.shape[1])
            places = (alpha + self.noise["architecture"][kind][0]).topk(count, dim=1).indices
            masks[kind] = torch.zeros_like(alpha, dtype=torch.bool).scatter_(1, places, True)
        return masks

    def expected_cost(self) -> Tensor:
        """E of a derived network of the supernet's size, with operations drawn from p."""
        p = {kind: softmax(alpha) for kind, alpha in self.alpha.items()}
        return expected_network(self.context.space, self.costs, self.rest, p)

    def architecture_loss(self, loss: Tensor, mixtures: Mixtures) -> Tensor:
        if not self.costs:
            return loss
        own, expected = self.method, self.expected_cost()
        if own.resource_form == "add":
            return loss + own.resource_weight * (expected - self.reference) / self.reference
        # Below e (of an unimaginably cheap network) there is nothing left to gain.
        ratio = expected.clamp_min(math.e).log() / math.log(max(self.reference, math.e))
        return own.resource_factor * loss * ratio**own.resource_exponent

    def mixing_weights(self) -> ScoreTable:
        """The probability of each operation, softmax(α)."""
        return {kind: self.over_space(softmax(alpha)) for kind, alpha in self.alpha.items()}

    @torch.no_grad()
    def evaluate(self, images: Tensor) -> Tensor:
        """The most probable path, normalised by the batch: no path's statistics are kept."""
        with untouched_statistics(self.supernet):
            logits: Tensor = self.supernet(images, self.mixtures("evaluation"))
        return logits

    def state(self) -> dict[str, Any]:
        """With the costs: measured latencies are not measured again on resume."""
        return {
            **super().state(),
            "steps_since": self.steps_since,
            "costs": self.costs,
            "rest": self.rest,
            "reference": self.reference,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        device = self.engine.device
        self.steps_since, self.reference = state["steps_since"], state["reference"]
        self.costs = {kind: table.to(device) for kind, table in state["costs"].items()}
        self.rest = state.get("rest", self.rest)  # earlier states have none


@torch.no_grad()
def rescale(alpha: Tensor, before: Tensor, sampled: Tensor) -> None:
    """After a step of α, keep the probability mass of each row's sampled entries as it was.

    `before` [E, O] are the values before the step, `sampled` [E, O] says which took it. The
    sampled entries are shifted by log Σ exp(before) - log Σ exp(alpha), both over them; the
    others are put back. A row that was sampled whole only loses a constant.
    """
    old = before.masked_fill(~sampled, -torch.inf).logsumexp(dim=1, keepdim=True)
    new = alpha.masked_fill(~sampled, -torch.inf).logsumexp(dim=1, keepdim=True)
    alpha.copy_(torch.where(sampled, alpha - (new - old), before))
