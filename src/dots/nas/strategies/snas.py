"""SNAS (Xie et al., ICLR 2019): samples of the Concrete distribution, trained in one level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dots.data.batch import Batch
from dots.nas.relaxation import softmax
from dots.nas.strategies.base import MethodSettings, Mixtures, Phase, SearchContext
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.expected_operations import Costs, Resource, resource_costs
from dots.nas.strategies.shared.sampling import SampledSearch
from dots.networks.kernels.node_sum import Term, combine
from dots.networks.operations.source import Source
from dots.networks.supernet import EdgePlan, MixedEdge, Mixture, Supernet
from dots.space.discretise import derive_all_edges, revive, with_zero_nodes
from dots.space.genotype import Genotype
from dots.training.engine import StepResult
from dots.training.schedules import linear


class SnasSettings(MethodSettings):
    """Settings of SNAS; the temperatures are reached in the first and in the last epoch."""

    temperature_start: float = Field(
        default=1.0, gt=0, description="temperature λ of the first epoch"
    )
    temperature_end: float = Field(
        default=0.03, gt=0, description="temperature λ of the last epoch"
    )
    drop_path: float = Field(
        default=0.3, ge=0, lt=1, description="probability of dropping an edge for a sample"
    )
    resource: Resource | Literal["memory-access", "published"] = Field(
        default="published",
        description="the cost that the loss also penalises; published: the mean over "
        "parameters, multiply-adds and memory-access",
    )
    resource_weight: float = Field(
        default=1.5e-3, ge=0, description="weight η of the logarithms of that cost"
    )


class DropPathEdge(MixedEdge):
    """An edge whose mixed output is zero for a sample with some probability, in training.

    The other samples are scaled up. Whole edges are dropped, also where identity dominates.
    """

    def __init__(self, plan: EdgePlan, probability: float) -> None:
        super().__init__(plan)
        self.probability = probability

    def forward(
        self,
        source: Source,
        weights: Sequence[Tensor],
        edge_weight: Tensor | None,
        active: Sequence[bool],
    ) -> list[Term]:
        terms = super().forward(source, weights, edge_weight, active)
        if not terms or not self.training or not self.probability:
            return terms
        mixed, keep = combine(terms, fast=source.fast), 1 - self.probability
        kept = torch.rand(len(mixed), 1, 1, 1, device=mixed.device) < keep
        return [Term(mixed * (kept.to(mixed.dtype) / keep), mixed.new_ones(()), None, None)]


class Snas(SampledSearch):
    """An edge's weights are a Concrete sample, z = softmax((log α + g)/λ), g Gumbel noise.

    One-level: w and log α from one gradient on all training images. λ falls linearly over
    the epochs, so that samples become one-hot. The loss may add η times the logarithms of
    what the sample's edges cost. Its own cell has the most probable operation on every edge,
    which may be Zero: then there is no edge, and a node has any number of them. A node
    without any is zero, and as in the release part of the output.
    """

    name: ClassVar[str] = "snas"
    Settings: ClassVar[type[MethodSettings]] = SnasSettings
    one_level: ClassVar[bool] = True
    spread: ClassVar[float] = 1e-2
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {**Darts.published, "epochs": 150, "arch_clip": 10.0}
    )
    method: SnasSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        with torch.no_grad():
            for alpha in self.alpha.values():
                alpha.add_(1.0)  # log α ~ N(1, 0.01²)
        self.temperature = self.method.temperature_start
        size, device = context.image_size, self.engine.device
        self.costs: list[Costs] = [
            resource_costs(context.space, context.shape, size, resource, device)[0]
            for resource in self._resources()
        ]

    def _resources(self) -> tuple[Resource | Literal["memory-access"], ...]:
        match self.method.resource:
            case "none":
                return ()
            case "published":
                return ("parameters", "multiply-adds", "memory-access")
            case resource:
                return (resource,)

    def build_supernet(self) -> Supernet:
        make_edge = partial(DropPathEdge, probability=self.method.drop_path)
        return self.context.supernet(make_edge=make_edge)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        start, end = self.method.temperature_start, self.method.temperature_end
        self.temperature = linear(start, end, epoch, self.settings.epochs)

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        self.draw_noise()
        return (
            self.joint_step(batch) if self.trains_architecture(epoch) else self.weight_step(batch)
        )

    def mixtures(self, phase: Phase) -> Mixtures:
        if phase == "evaluation":
            return {kind: Mixture(softmax(alpha)) for kind, alpha in self.alpha.items()}
        return {
            kind: Mixture(softmax(alpha + self.noise[phase][kind][0], self.temperature))
            for kind, alpha in self.alpha.items()
        }

    def architecture_loss(self, loss: Tensor, mixtures: Mixtures) -> Tensor:
        """Add η · Σ_edges log(Σ_o z · cost), where a resource is penalised.

        The sum is over a cell kind's edges; what is added is the mean over kinds and costs. As
        in the release an edge that costs less than 1 counts as 1.
        """
        if not self.costs:
            return loss
        logs = [
            (mixture.operations * costs[kind]).sum(1).clamp_min(1.0).log().sum()
            for costs in self.costs
            for kind, mixture in mixtures.items()
        ]
        return loss + self.method.resource_weight * torch.stack(logs).mean()

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {"temperature": self.temperature}

    def derive(self) -> Genotype:
        space, scores = self.context.space, self.scores()
        return with_zero_nodes(revive(derive_all_edges(space, scores), space, scores))

    def state(self) -> dict[str, Any]:
        """With the costs: measured latencies are not measured again on resume."""
        return {**super().state(), "costs": self.costs}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        device = self.engine.device
        saved = state["costs"]
        if isinstance(saved, dict):  # of a single cost, or none, as earlier states have it
            saved = [saved] if saved else []
        self.costs = [{kind: table.to(device) for kind, table in costs.items()} for costs in saved]
