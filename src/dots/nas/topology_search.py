"""The second stage: β over edge combinations on a smaller supernet (paper Sec. 4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dots.common.records import ArchitectureRow, TopologyRecord
from dots.data.batch import Batch, BatchSource
from dots.nas.budget.penalty import CostPenalty, kept_probabilities
from dots.nas.operation_search import cycle
from dots.nas.retained_operations import RetainedOperations
from dots.nas.topology import Topology, entropy, make_topology
from dots.networks.supernet import Mixture, Supernet
from dots.recipe.settings import TopologySettings
from dots.space.discretise import best_operations, build_genotype, derive_dots
from dots.space.genotype import Genotype
from dots.space.search_space import Candidates, SearchSpace
from dots.training.engine import Engine, StepResult, frozen
from dots.training.loop import Pair, State
from dots.training.optimisers import ArchitectureOptimiser, search_weight_optimiser
from dots.training.schedules import geometric


def new_topology(space: SearchSpace, settings: TopologySettings) -> Topology:
    """The topology parameters that the settings ask for; all start at zero."""
    return make_topology(
        space,
        parameterisation=settings.parameterisation,
        edges=settings.edges,
        normalise=settings.normalise,
        threshold=settings.threshold,
    )


AVERAGED = (0.15, 0.5)
"""The temperatures at which β ranked topologies best in one study; see docs/findings.md."""


class TopologyStage:
    """One-level search of β, α' and w by one gradient at the old point (Eq. 10).

    The temperature falls from `t_start` to `t_end` (Eq. 9) over the epochs that train the
    architecture; the gates have `alpha_ratio` times that temperature. With `held_out` (not
    in the paper) the architecture learns from images that w does not see. The weight-only
    epochs go over `weight_batches` where there are such. With select 'perturbation' β and α'
    stay uniform: w learns under all edges, and what comes after decides.
    """

    name = "topology"

    def __init__(
        self,
        space: SearchSpace,
        candidates: Candidates,
        topology: Topology,
        supernet: Supernet,
        settings: TopologySettings,
        engine: Engine,
        batches: BatchSource,
        held_out: BatchSource | None = None,
        penalty: CostPenalty | None = None,
        weight_batches: BatchSource | None = None,
    ) -> None:
        self.space = space
        self.candidates = candidates
        self.topology = engine.place(topology)
        self.gates = engine.place(RetainedOperations(space, candidates))
        self.supernet = supernet
        self.settings = settings
        self.engine = engine
        self.own_batches = batches
        self.weight_batches = weight_batches or batches
        self.held_out = held_out
        self.penalty = penalty
        self.epochs = settings.epochs
        self.steps = batches.steps
        self.temperature = settings.t_start
        self._heat = engine.number(self.temperature)
        self.weight_optimiser = search_weight_optimiser(supernet.parameters(), settings)
        self.architecture = [*self.topology.parameters(), *self.gates.parameters()]
        self.architecture_optimiser = ArchitectureOptimiser(self.architecture, settings)
        self.beta_sum = [torch.zeros_like(beta) for beta in self.topology.parameters()]
        """Of β over the steps with a temperature in AVERAGED."""
        self.beta_steps = 0

    @property
    def lr(self) -> float:
        return self.weight_optimiser.lr

    def batches(self, epoch: int, start: int) -> Iterator[Pair]:
        own = self._batches_of(epoch).epoch(epoch, start)
        if self.held_out is None or not self._trains_architecture(epoch):
            return ((batch, None) for batch in own)
        return zip(own, cycle(self.held_out, epoch * self.own_batches.steps + start), strict=False)

    def _batches_of(self, epoch: int) -> BatchSource:
        return self.own_batches if self._trains_architecture(epoch) else self.weight_batches

    def begin_epoch(self, epoch: int) -> None:
        """Operations whose weight has underflown to zero are gone from here on."""
        self.gates.remove_underflown(self.temperature_at(epoch, 0) * self.settings.alpha_ratio)

    def set_epoch(self, epoch: int) -> None:
        self.weight_optimiser.set_epoch(epoch)
        self._set_temperature(self.temperature_at(epoch, 0))
        self.steps = self._batches_of(epoch).steps

    def _set_temperature(self, temperature: float) -> None:
        self.temperature = temperature
        self._heat = self.engine.number(temperature, self._heat)

    def _trains_architecture(self, epoch: int) -> bool:
        uniform = self.settings.select == "perturbation"
        return epoch >= self.settings.weight_epochs and not uniform

    def temperature_at(self, epoch: int, step: int) -> float:
        """T_β of a step; 1 in the weight-only epochs, where β is uniform at any temperature."""
        if not self._trains_architecture(epoch):
            return 1.0
        position = epoch - self.settings.weight_epochs
        count = self.epochs - self.settings.weight_epochs
        if self.settings.anneal == "step":
            steps = self.own_batches.steps
            position, count = position * steps + step, count * steps
        return geometric(self.settings.t_start, self.settings.t_end, position, count)

    def mixtures(self) -> dict[str, Mixture]:
        """γ and the gates at the current temperature (Eq. 8), differentiable in β and α'."""
        gamma = self.topology.edge_weights(self._heat)
        heat = self._heat * self.settings.alpha_ratio
        gates = self.gates
        return {
            kind: Mixture(gates.weights(kind, heat), gamma[kind], gates.active.get(kind))
            for kind in self.space.kinds
        }

    def _objective(self, part: Batch) -> tuple[Tensor, Tensor]:
        logits = self.supernet(part.images, self.mixtures())
        return self.engine.cross_entropy(logits, part.labels), logits

    def _within_budget(self, part: Batch) -> tuple[Tensor, Tensor]:
        """The same with the gradient of what a budget adds; its value stays, for the record."""
        loss, logits = self._objective(part)
        if self.penalty is not None:
            weights, kept = self._chances()
            excess = self.penalty(weights, self.candidates, kept)
            loss = loss + (excess - excess.detach())
        return loss, logits

    def _chances(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """How probable each operation and each edge is in the derived cell."""
        heat = self._heat * self.settings.alpha_ratio
        weights = {kind: self.gates.weights(kind, heat, real=True) for kind in self.space.kinds}
        return weights, kept_probabilities(self.topology, self._heat)

    @torch.no_grad()
    def _expected(self) -> dict[str, float]:
        """The expected costs that a budget weighs, for the record."""
        if self.penalty is None:
            return {}
        weights, kept = self._chances()
        costs = self.penalty.expected(weights, self.candidates, kept)
        return {f"expected_{metric}": float(cost) for metric, cost in costs.items()}

    def step(self, epoch: int, step: int, pair: Pair) -> StepResult:
        self._set_temperature(self.temperature_at(epoch, step))
        joint = self._trains_architecture(epoch) and self.held_out is None
        key = (self.name, joint, tuple(self.gates.active.items()))
        result = self.engine.step(partial(self._step, joint), *pair, key=key)
        if self._trains_architecture(epoch) and AVERAGED[0] <= self.temperature <= AVERAGED[1]:
            self._add_beta()
        return result

    def _step(self, joint: bool, batch: Batch, held_out: Batch | None) -> StepResult:
        if held_out is not None:
            with frozen(self.supernet):
                self.engine.gradients(held_out, self._within_budget, self.architecture)
            self._move_architecture()
        weights = self.weight_optimiser.parameters
        parameters = [*weights, *self.architecture] if joint else weights
        objective = self._within_budget if joint else self._objective
        result = self.engine.gradients(batch, objective, parameters)
        self.weight_optimiser.apply()
        if joint:
            self._move_architecture()
        return result

    @torch.no_grad()
    def _add_beta(self) -> None:
        self.beta_steps += 1
        for total, beta in zip(self.beta_sum, self.topology.parameters(), strict=True):
            total += beta

    @torch.no_grad()
    def average(self) -> None:
        """Replace β by its mean over the steps in AVERAGED; the last β stays without such."""
        if self.beta_steps:
            for total, beta in zip(self.beta_sum, self.topology.parameters(), strict=True):
                beta.copy_(total / self.beta_steps)

    def mean_beta(self) -> dict[str, list[list[float]]] | None:
        """That mean for each kind and node; None without such steps."""
        if not self.beta_steps:
            return None
        means = iter([(total / self.beta_steps).tolist() for total in self.beta_sum])
        return {kind: [next(means) for _ in self.topology.nodes(kind)] for kind in self.space.kinds}

    def _move_architecture(self) -> None:
        """Adam's step of β and of the α' that are not yet fixed."""
        before = self.gates.values() if self.gates.active else None
        self.architecture_optimiser.apply()
        if before is not None:
            self.gates.hold(before)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        probabilities = self.topology.probabilities(self.temperature)
        return {
            "temperature": self.temperature,
            "beta_entropy": entropy(probabilities),
            "gate_entropy": entropy(self._gate_table()),
            **self._expected(),
        }

    @torch.no_grad()
    def _gate_table(self) -> dict[str, list[list[float]]]:
        """The gates of each kind and edge, without the columns that do not exist."""
        heat = self.temperature * self.settings.alpha_ratio
        return {
            kind: [
                row[: len(names)]
                for row, names in zip(
                    self.gates.weights(kind, heat).tolist(), self.candidates[kind], strict=True
                )
            ]
            for kind in self.space.kinds
        }

    @torch.no_grad()
    def snapshot(self, epoch: int) -> dict[str, Any]:
        gamma = self.topology.edge_weights(self.temperature)
        return ArchitectureRow(
            stage=self.name,
            epoch=epoch,
            temperature=self.temperature,
            alpha=self._gate_table(),
            beta=self.topology.probabilities(self.temperature),
            gamma={kind: weights.tolist() for kind, weights in gamma.items()},
        ).to_json()

    def current(self) -> Genotype:
        """The cell that β and α' give at this temperature."""
        return self._derived(self.temperature)

    def finished(self, epoch: int) -> bool:
        return False

    def module(self) -> nn.Module:
        """The network with running statistics."""
        return self.supernet

    def genotype(self) -> Genotype:
        """argmax of β at every node, then of α' on the edges that it keeps."""
        return self._derived(self.settings.t_end)

    @torch.no_grad()
    def _derived(self, temperature: float) -> Genotype:
        gates = {kind: self.gates.choice(kind).tolist() for kind in self.space.kinds}
        kept = self.topology.kept_edges(temperature)
        return derive_dots(self.space, self.candidates, gates, kept)

    def state(self) -> State:
        return {
            "topology": self.topology.state_dict(),
            "gates": self.gates.state_dict(),
            "supernet": self.supernet.state_dict(),
            "weight_optimiser": self.weight_optimiser.state(),
            "architecture_optimiser": self.architecture_optimiser.state(),
            "beta_sum": list(self.beta_sum),
            "beta_steps": self.beta_steps,
        }

    def load_state(self, state: State) -> None:
        self.engine.forget_steps()
        self.topology.load_state_dict(state["topology"])
        # What was saved before operations were removed has no flags for it: none is.
        self.gates.load_state_dict({**self.gates.state_dict(), **state["gates"]})
        self.gates.read_removed()
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimiser.load_state(state["weight_optimiser"])
        self.architecture_optimiser.load_state(state["architecture_optimiser"])
        # Runs of earlier versions have kept no sums.
        self.beta_sum = [b.to(self.engine.device) for b in state.get("beta_sum", self.beta_sum)]
        self.beta_steps = state.get("beta_steps", 0)


@torch.no_grad()
def topology_record(stage: TopologyStage, settings: TopologySettings) -> TopologyRecord:
    """The content of topology.json, for whoever wants more than the chosen cell."""
    kept = stage.topology.kept_edges(settings.t_end)
    gates = {kind: stage.gates.choice(kind).tolist() for kind in stage.space.kinds}
    chosen = best_operations(stage.space, stage.candidates, gates)
    return TopologyRecord(
        version=1,
        parameterisation=settings.parameterisation,
        edges=settings.edges,
        temperature=settings.t_end,
        beta={
            kind: [beta.tolist() for _, beta in stage.topology.nodes(kind)]
            for kind in stage.space.kinds
        },
        mean_beta=stage.mean_beta(),
        alpha=gates,
        operations={kind: list(names) for kind, names in chosen.items()},
        kept_edges={kind: list(edges) for kind, edges in kept.items()},
    )


def recorded_genotype(space: SearchSpace, record: TopologyRecord) -> Genotype:
    """The cell of a topology.json: its kept edges with their operations."""
    chosen = {
        kind: {edge: (names[edge],) for edge in record.kept_edges[kind]}
        for kind, names in record.operations.items()
    }
    return build_genotype(space, chosen)
