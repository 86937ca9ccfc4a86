"""Searches whose supernet is rebuilt: with fewer candidates, another depth, other channels."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dots.nas.strategies.base import (
    GradientSearch,
    MethodSettings,
    Mixtures,
    Phase,
    ScoreTable,
    SearchContext,
)
from dots.nas.strategies.shared.candidate_pruning import CandidatePruning, Tables
from dots.networks.body import Shape
from dots.networks.supernet import EdgeFactory, MixedEdge, Mixture, SearchCell, Supernet
from dots.space.search_space import Candidates, SearchSpace
from dots.training.optimisers import WeightOptimiser, warmed_up
from dots.training.schedules import cosine

_OPERATION = re.compile(r"(body\.cells\.(\d+)\.edges\.(\d+)\..*?operations\.)(\d+)(\..*)?")


def transfer_weights(
    old: Supernet, old_sgd: torch.optim.SGD, new: Supernet, new_sgd: torch.optim.SGD
) -> None:
    """Give `new` the weights, statistics and SGD momentum of the same operations in `old`.

    Where the new tensor is wider its further channels repeat the old ones from the first on.
    What `old` does not have keeps its new values.
    """
    _carry_weights(old, new)
    _carry_momentum(_parameters(old), old_sgd, _parameters(new), new_sgd)


def widened(tensor: Tensor, shape: torch.Size) -> Tensor:
    """`tensor` in a larger `shape`: index i of an axis holds what i modulo the old size held."""
    for axis, size in enumerate(shape):
        if size != tensor.shape[axis]:
            index = torch.arange(size, device=tensor.device) % tensor.shape[axis]
            tensor = tensor.index_select(axis, index)
    return tensor


@torch.no_grad()
def _carry_weights(old: Supernet, new: Supernet) -> None:
    source = {_stable_name(old, name): tensor for name, tensor in old.state_dict().items()}
    for name, tensor in new.state_dict().items():
        found = source.get(_stable_name(new, name))
        if found is not None:
            tensor.copy_(widened(found, tensor.shape))


@torch.no_grad()
def _carry_momentum(
    old: dict[str, nn.Parameter],
    old_sgd: torch.optim.SGD,
    new: dict[str, nn.Parameter],
    new_sgd: torch.optim.SGD,
) -> None:
    for name, parameter in new.items():
        if name not in old:
            continue
        buffer = old_sgd.state.get(old[name], {}).get("momentum_buffer")
        if buffer is not None:
            copy = torch.empty_like(parameter).copy_(widened(buffer, parameter.shape))
            new_sgd.state[parameter]["momentum_buffer"] = copy


def _parameters(supernet: Supernet) -> dict[str, nn.Parameter]:
    return {_stable_name(supernet, name): p for name, p in supernet.named_parameters()}


def _stable_name(supernet: Supernet, name: str) -> str:
    """`name` with an operation's name instead of its place among its edge's candidates."""
    match = _OPERATION.fullmatch(name)
    if match is None:
        return name
    prefix, cell, edge, place, rest = match.groups(default="")
    owner = supernet.body.cells[int(cell)]
    assert isinstance(owner, SearchCell)
    operation = supernet.candidates[owner.kind][int(edge)][int(place)]
    return f"{prefix}{operation}{rest}"


class PruningSearch(GradientSearch):
    """Abstract: a search on a supernet that has, at any time, the candidates of `pruning`.

    α has a row for each edge and a column for each operation of the space throughout; only
    the columns of candidates mix. Operations that were dropped are not in the supernet.
    """

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        first = self.first_candidates(context.space)
        self.pruning = CandidatePruning(context.space, first, context.engine.device)
        super().__init__(context, method)

    @classmethod
    def first_candidates(cls, space: SearchSpace) -> Candidates:
        """What each edge chooses from at the start."""
        return space.full_candidates

    def build_supernet(self) -> Supernet:
        """A supernet of the present candidates."""
        return self.context.supernet(self.pruning.candidates)

    def operation_weights(self, phase: Phase) -> dict[str, Tensor]:
        """The mixing weights [edges, operations of the space], 0 where there is no candidate."""
        return {kind: self.pruning.softmax(kind, alpha) for kind, alpha in self.alpha.items()}

    def logits(self) -> list[Tensor]:
        """α of the candidates; -∞ elsewhere, which no softmax weighs."""
        kept = self.pruning.kept
        return [alpha.masked_fill(~kept[kind], -torch.inf) for kind, alpha in self.alpha.items()]

    def mixtures(self, phase: Phase) -> Mixtures:
        return {
            kind: Mixture(self.pruning.gather(kind, weights))
            for kind, weights in self.operation_weights(phase).items()
        }

    def rebuild(self, *, carry: bool) -> None:
        """Build the supernet of the present candidates, and its optimiser.

        With `carry` the weights and the momentum of what survives are kept.
        """
        old, old_optimiser = self.supernet, self.weight_optimiser
        self.supernet = self.build_supernet()
        self.weight_optimiser = self.build_weight_optimiser()
        self.early_stopping = self.build_early_stopping()
        if carry:
            transfer_weights(old, old_optimiser.sgd, self.supernet, self.weight_optimiser.sgd)

    @torch.no_grad()
    def mixing_weights(self) -> ScoreTable:
        weights = self.operation_weights("evaluation")
        return {kind: table.float().tolist() for kind, table in weights.items()}

    @torch.no_grad()
    def scores(self) -> ScoreTable:
        """The mixing weights; operations that are gone rank below, by when they went."""
        return self.pruning.scores(self.operation_weights("evaluation"))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "narrowing": self.pruning.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.pruning.load_state(state["narrowing"])
        self.rebuild(carry=False)
        super().load_state(state)


@dataclass(frozen=True)
class StageSchedule:
    """The epochs of a search in equal stages, each with the same share of weight-only epochs.

    Where the epochs do not divide, the earlier stages have more; with fewer epochs than
    stages the last ones do not take place.
    """

    epochs: int
    weight_epochs: int
    stages: int

    def start(self, stage: int) -> int:
        """The first epoch of a stage."""
        return -(-self.epochs * stage // self.stages)

    def stage(self, epoch: int) -> int:
        """The stage of an epoch, from 0."""
        return max(stage for stage in range(self.stages) if self.start(stage) <= epoch)

    def position(self, epoch: int) -> int:
        """How many epochs of its stage are behind."""
        return epoch - self.start(self.stage(epoch))

    def length(self, epoch: int) -> int:
        """The number of epochs of this epoch's stage."""
        stage = self.stage(epoch)
        return self.start(stage + 1) - self.start(stage)

    def weight_only(self, epoch: int) -> int:
        """The leading epochs of this epoch's stage that train w alone, in proportion."""
        return self.weight_epochs * self.length(epoch) // self.epochs


class StagedSearch(PruningSearch):
    """Abstract: a search in stages, each with fewer candidates than the one before.

    The epochs are divided equally. `weight_epochs` of the settings are spread over the stages
    in proportion. A method says who survives, and what a stage's supernet looks like.
    """

    stages: int
    restarts: ClassVar[bool] = True
    """True: each stage starts with new w, α, optimisers, and with a cosine of its own over
    its epochs (`lr_epochs` and `lr_offset` do not apply). False: everything is carried over."""

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        settings = context.settings
        self.schedule = StageSchedule(settings.epochs, settings.weight_epochs, self.stages)
        self.stage = 0
        self.full_shape = context.shape
        super().__init__(context, method)

    @abstractmethod
    def survivors(self, stage: int) -> Tables:
        """The operations that `stage` starts with, a mask [E, O] for each cell kind."""

    def drop_weights(self) -> Tables:
        """How much each operation weighs when a stage ends, [E, O] for each cell kind."""
        return self.operation_weights("evaluation")

    def stage_cells(self) -> int:
        """The number of cells of the present stage's supernet."""
        return self.full_shape.cells

    def make_edge(self) -> EdgeFactory:
        """What builds the edges of the present stage's supernet."""
        return MixedEdge

    def build_supernet(self) -> Supernet:
        shape: Shape = replace(self.full_shape, cells=self.stage_cells())
        return self.context.supernet(
            self.pruning.candidates, shape=shape, make_edge=self.make_edge(), part=self.stage
        )

    def build_weight_optimiser(self) -> WeightOptimiser:
        optimiser = super().build_weight_optimiser()
        if self.restarts:
            optimiser.rate = lambda epoch: self.stage_rate(int(epoch))
        return optimiser

    def stage_rate(self, epoch: int) -> float:
        """The learning rate of w: a warm-up and a cosine over the epochs of the stage."""
        position, length = self.schedule.position(epoch), self.schedule.length(epoch)
        rate = cosine(self.settings.lr, self.settings.lr_min, position, length)
        return warmed_up(self.settings, position, rate)

    def trains_architecture(self, epoch: int) -> bool:
        return self.schedule.position(epoch) >= self.schedule.weight_only(epoch)

    def begin_epoch(self, epoch: int) -> None:
        stage = self.schedule.stage(epoch)
        if stage != self.stage:
            self.enter(stage)

    @torch.no_grad()
    def enter(self, stage: int) -> None:
        """Drop what does not survive and build the supernet of `stage`."""
        self.pruning.prune(self.survivors(stage), self.drop_weights())
        self.stage = stage
        self.rebuild(carry=not self.restarts)
        if self.restarts:
            columns = len(self.context.space.operations)
            self.alpha = self.context.parameters(columns, self.spread, f"alpha-{stage}")
            self.architecture_optimiser = self.build_architecture_optimiser()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "stage": self.stage}

    def load_state(self, state: dict[str, Any]) -> None:
        self.stage = state["stage"]
        super().load_state(state)


def scaled_cells(space: SearchSpace, cells: int, part: int, whole: int) -> int:
    """`cells` · part / whole, rounded to a number that the space's skeleton allows.

    Not below three, where a network of both skeletons has cells of every kind, unless `cells`
    is.
    """
    step = 3 if space.skeleton == "nasbench201" else 1
    return max(round(cells * part / whole / step) * step, min(cells, 3))
