"""What an operation search is, and what most of them have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from dots.common.seeding import isolated_random_state, seed_step
from dots.data.batch import Batch
from dots.nas.budget.penalty import CostPenalty
from dots.nas.strategies.shared.early_stopping import OperationEarlyStopping
from dots.networks.body import Shape
from dots.networks.supernet import EdgeFactory, MixedEdge, Mixture, Supernet
from dots.recipe.settings import OperationSettings
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.search_space import ZERO, Candidates, Groups, SearchSpace
from dots.training.engine import Engine, StepResult, frozen
from dots.training.optimisers import ArchitectureOptimiser, WeightOptimiser, search_weight_optimiser
from dots.training.schedules import linear

Phase = Literal["weights", "architecture", "evaluation"]
"""Whom a mixture is for: the weight step, the architecture step, or neither (no draws)."""
Mixtures = Mapping[str, Mixture]
ScoreTable = dict[str, list[list[float]]]
"""For each cell kind, edge and operation of the space: the larger, the better."""


class MethodSettings(BaseModel):
    """A strategy's own settings: typed strictly, closed to unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class SearchContext:
    """What a strategy is given: the space, the size of its supernet, settings, the engine.

    `groups` are the operation groups of the retention scheme, or one group of everything.
    `image_size` is in pixels. `shape` is that of the recipe; a strategy may ask for others.
    """

    space: SearchSpace
    shape: Shape
    settings: OperationSettings
    engine: Engine
    seed: int
    groups: Groups
    image_size: int
    fast: bool = True
    low_memory: bool = False
    penalty: CostPenalty | None = None
    """What the step of α also minimises, for a budget."""

    def group_columns(self, kind: str) -> list[list[int]]:
        """The columns of α that each group has in a cell of this kind."""
        return group_columns(self.space, self.groups)

    def supernet(
        self,
        candidates: Candidates | None = None,
        *,
        shape: Shape | None = None,
        make_edge: EdgeFactory = MixedEdge,
        part: int = 0,
    ) -> Supernet:
        """A supernet with new weights, drawn from the seed and `part` (a stage's number)."""
        with isolated_random_state():
            seed_step(self.seed, "operations", "weights", part)
            supernet = Supernet(
                self.space,
                shape or self.shape,
                candidates,
                make_edge=make_edge,
                fast=self.fast,
                low_memory=self.low_memory,
            )
        return self.engine.place_network(supernet)

    def parameters(
        self, columns: int | Mapping[str, int], spread: float, name: str = "alpha"
    ) -> nn.ParameterDict:
        """Architecture parameters [edges, columns] for each cell kind, spread · N(0, 1)."""
        edges = len(self.space.cell.edges)
        widths = dict.fromkeys(self.space.kinds, columns) if isinstance(columns, int) else columns
        with isolated_random_state():
            seed_step(self.seed, "operations", name)
            drawn = {
                kind: nn.Parameter(spread * torch.randn(edges, widths[kind]))
                for kind in self.space.kinds
            }
        return self.engine.place(nn.ParameterDict(drawn))


class OperationSearch(ABC):
    """A search for the operations of every edge.

    The loop calls, for each epoch: `begin_epoch` once (not again when a run resumes in the
    middle of the epoch), `set_epoch` (whenever the epoch is entered, also on resume),
    `step` for each batch, `end_epoch`. torch is seeded before every step, so that a strategy
    that draws random numbers needs no state of its own for them.

    Only `scores` crosses into the topology search: its weights are new.
    """

    name: ClassVar[str]
    """The name on the command line."""
    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    one_level: ClassVar[bool] = False
    """True: w and α share the batches of all images; False: halves A and B."""
    published: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """The settings of the operation search (`OperationSettings`) in the method's publication."""
    regularisers: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """The method's own values of settings that a recipe may leave as none (β-decay, OLES)."""
    published_imagenet: ClassVar[Mapping[str, object] | None] = None
    """The same of its search on ImageNet, and settings of its own as "method.NAME"; None: it
    was not searched there, or by settings that are not known."""
    operations_per_edge: ClassVar[Mapping[Phase, tuple[int, int]]] = MappingProxyType({})
    """The fewest and the most operations of an edge that one forward of a phase runs with the
    default settings, Zero included; a phase that is absent runs every candidate."""

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        self.context = context
        self.method = method

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        """Raise UserError where this method does not fit the space or the settings.

        Called before any data are loaded.
        """
        return

    @abstractmethod
    def wants_architecture_batch(self, epoch: int) -> bool:
        """Whether this epoch's steps use images of half B."""

    def begin_epoch(self, epoch: int) -> None:
        """Change what changes between epochs: stages, pruning."""
        return

    @abstractmethod
    def set_epoch(self, epoch: int) -> None:
        """Set what is a function of the epoch alone: rates, temperatures."""

    @abstractmethod
    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        """Train on `batch` (half A, or all images), and α on `held_out` where it is wanted."""

    def why_steps_differ(self, epoch: int) -> str:
        """Why the next step does not do on the device what the last one did; "" where it does.

        On a GPU such a step is captured once and then repeated: nothing of it runs in Python
        again, and numbers stay as they were. So where a step counts or decides by itself,
        copies from the host, or reads numbers that change within an epoch, this must say so.
        """
        return ""

    def step_key(self, epoch: int) -> Hashable:
        """A step is captured anew where this differs: whatever steps read from Python.

        By default the epoch, as rates, temperatures and candidates may change with it. The
        learning rate of w needs no mention.
        """
        return epoch

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """What to record beside loss and accuracy."""
        return {}

    def finished(self, epoch: int) -> bool:
        """Whether the search stops after this epoch, before its last one."""
        return False

    @abstractmethod
    def mixing_weights(self) -> ScoreTable:
        """For the record: each operation's expected weight, over the space's operations."""

    def scores(self) -> ScoreTable:
        """What the topology search goes by: by default the mixing weights."""
        return self.mixing_weights()

    def derive(self) -> Genotype:
        """The method's own cell, without topology search; by default the DARTS policy."""
        return derive_darts(self.context.space, self.scores())

    @property
    def lr(self) -> float:
        """The learning rate of w."""
        return 0.0

    @property
    def network(self) -> nn.Module | None:
        """The network with running statistics, if there is one now."""
        return None

    def expected_costs(self) -> dict[str, float]:
        """For the record: the expected costs that a budget weighs, as expected_METRIC."""
        return {}

    @abstractmethod
    def evaluate(self, images: Tensor) -> Tensor:
        """Logits of the supernet as it stands, without random draws."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that a later process needs to go on exactly as this one would."""

    @abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, on a freshly built strategy."""


class SupernetSearch(OperationSearch):
    """Abstract: w by SGD on one supernet, alone for the first epochs.

    A method says how the candidates mix (`mixtures`), and what is a step. A mixture has one
    row for each edge and one column for each of `searched_operations`.
    """

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        unset = {n: v for n, v in self.regularisers.items() if getattr(context.settings, n) is None}
        self.settings = context.settings.model_copy(update=unset)
        self.engine = context.engine
        self.supernet = self.build_supernet()
        self.weight_optimiser = self.build_weight_optimiser()

    def searched_operations(self) -> tuple[str, ...]:
        """What every edge chooses from: by default all operations of the space."""
        return self.context.space.operations

    def searched_candidates(self) -> Candidates:
        """`searched_operations` on every edge."""
        space = self.context.space
        return dict.fromkeys(space.kinds, (self.searched_operations(),) * len(space.cell.edges))

    def build_supernet(self) -> Supernet:
        """The supernet at the start."""
        return self.context.supernet(self.searched_candidates())

    @property
    def lr(self) -> float:
        return self.weight_optimiser.lr

    @property
    def network(self) -> nn.Module:
        return self.supernet

    def build_weight_optimiser(self) -> WeightOptimiser:
        return search_weight_optimiser(self.supernet.parameters(), self.settings)

    @abstractmethod
    def mixtures(self, phase: Phase) -> Mixtures:
        """How the supernet mixes now, differentiable in the architecture parameters."""

    def operation_probabilities(self) -> dict[str, Tensor]:
        """How probable each candidate of the supernet is, [edges, candidates], differentiable."""
        return {kind: mixture.operations for kind, mixture in self.mixtures("evaluation").items()}

    @torch.no_grad()
    def expected_costs(self) -> dict[str, float]:
        if self.context.penalty is None:
            return {}
        weights, candidates = self.operation_probabilities(), self.supernet.candidates
        costs = self.context.penalty.expected(weights, candidates)
        return {f"expected_{metric}": float(cost) for metric, cost in costs.items()}

    def weight_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the weight step minimises."""
        return self.engine.cross_entropy(logits, labels)

    def trains_architecture(self, epoch: int) -> bool:
        """Whether α learns in this epoch."""
        return epoch >= self.settings.weight_epochs

    def wants_architecture_batch(self, epoch: int) -> bool:
        return not self.one_level and self.trains_architecture(epoch)

    def set_epoch(self, epoch: int) -> None:
        self.weight_optimiser.set_epoch(epoch)

    def learning_weights(self) -> list[nn.Parameter]:
        """The weights that a weight step moves."""
        return self.weight_optimiser.parameters

    def weight_step(self, batch: Batch) -> StepResult:
        """One step of w at the current α."""

        def objective(part: Batch) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                mixtures = self.mixtures("weights")
            logits = self.supernet(part.images, mixtures)
            return self.weight_loss(logits, part.labels), logits

        result = self.engine.gradients(batch, objective, self.learning_weights())
        self.weight_optimiser.apply()
        return result

    @torch.no_grad()
    def mixing_weights(self) -> ScoreTable:
        return {
            kind: self.over_space(mixture.operations)
            for kind, mixture in self.mixtures("evaluation").items()
        }

    def over_space(self, weights: Tensor) -> list[list[float]]:
        """[edges, searched operations] as numbers over the space's operations, 0 elsewhere.

        A row may be shorter: a layer choice of a user's model may have fewer than others.
        """
        rows = weights.detach().float().tolist()
        named = (dict(zip(self.searched_operations(), row, strict=False)) for row in rows)
        return [[row.get(op, 0.0) for op in self.context.space.operations] for row in named]

    @torch.no_grad()
    def evaluate(self, images: Tensor) -> Tensor:
        self.supernet.eval()
        logits: Tensor = self.supernet(images, self.mixtures("evaluation"))
        self.supernet.train()
        return logits

    def state(self) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "weight_optimiser": self.weight_optimiser.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimiser.load_state(state["weight_optimiser"])


class GradientSearch(SupernetSearch):
    """Abstract: α beside w, by Adam.

    β-decay (Ye et al., CVPR 2022) and operation-level early stopping (OLES, Jiang et al.,
    NeurIPS 2023) are settings of every such method.
    """

    spread: ClassVar[float] = 1e-3
    """Standard deviation of α at the start."""
    first_order: ClassVar[bool] = True
    """Whether the step of α takes its gradient at the present w, which OLES looks at."""

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.alpha = context.parameters(len(self.searched_operations()), self.spread)
        self.architecture_optimiser = self.build_architecture_optimiser()
        self.beta_decay = 0.0
        self.early_stopping = self.build_early_stopping()

    def build_early_stopping(self) -> OperationEarlyStopping | None:
        """OLES on the present supernet, where the settings ask for it."""
        least = self.settings.oles
        if least is None:
            return None
        return OperationEarlyStopping(self.supernet, least, self.settings.oles_steps)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Everything that the architecture optimiser trains."""
        return list(self.alpha.parameters())

    def build_architecture_optimiser(self) -> ArchitectureOptimiser:
        return ArchitectureOptimiser(self.architecture_parameters(), self.settings)

    def penalty(self) -> Tensor | None:
        """What the architecture step adds to the classification loss."""
        return None

    def architecture_loss(self, loss: Tensor, mixtures: Mixtures) -> Tensor:
        """What the architecture step minimises, from the classification loss under `mixtures`."""
        penalty = self.penalty()
        return loss if penalty is None else loss + penalty

    def logits(self) -> list[Tensor]:
        """α as tables whose rows are each normalised by themselves, [rows, operations]."""
        return list(self.alpha.values())

    def regularised(self, loss: Tensor) -> Tensor:
        """`loss` with the gradients of β-decay and of a budget; its value stays, for the record.

        β-decay is λ(e) times the mean over all edges of logsumexp(α) (β-DARTS, Eq. 12): its
        gradient is the mixing weights themselves. With groups the sum over those of an edge.
        """
        if self.beta_decay:
            rows = torch.cat([logits.logsumexp(1) for logits in self.logits()])
            edges = len(self.alpha) * len(self.context.space.cell.edges)
            decay = self.beta_decay * rows.sum() / edges
            loss = loss + (decay - decay.detach())
        if self.context.penalty is not None:
            excess = self.context.penalty(self.operation_probabilities(), self.supernet.candidates)
            loss = loss + (excess - excess.detach())
        return loss

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        weight, epochs = self.settings.beta_decay or 0.0, self.settings.epochs
        self.beta_decay = linear(0.0, weight, epoch, epochs + 1)

    def why_steps_differ(self, epoch: int) -> str:
        return "steps compare their gradients (oles)" if self.early_stopping else ""

    def learning_weights(self) -> list[nn.Parameter]:
        weights = super().learning_weights()
        return weights if self.early_stopping is None else self.early_stopping.learning(weights)

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        """First-order bi-level: α on half B first, then w on half A (Eq. 4, methods' order)."""
        if held_out is not None:
            self.architecture_step(held_out)
        return self.weight_step(batch)

    def architecture_step(self, batch: Batch) -> StepResult:
        """One step of α at the current w."""

        def objective(part: Batch) -> tuple[Tensor, Tensor]:
            mixtures = self.mixtures("architecture")
            logits = self.supernet(part.images, mixtures)
            loss = self.engine.cross_entropy(logits, part.labels)
            return self.regularised(self.architecture_loss(loss, mixtures)), logits

        alphas, stopping = self.architecture_parameters(), self.early_stopping
        if stopping is None:
            with frozen(self.supernet):
                result = self.engine.gradients(batch, objective, alphas)
        else:
            with stopping.compared():
                weights = self.learning_weights()
                result = self.engine.gradients(batch, objective, [*alphas, *weights])
        self.architecture_optimiser.apply()
        return result

    def joint_step(self, batch: Batch) -> StepResult:
        """One-level: w and α from one gradient at the old point (as Eq. 10)."""

        def objective(part: Batch) -> tuple[Tensor, Tensor]:
            mixtures = self.mixtures("architecture")
            logits = self.supernet(part.images, mixtures)
            loss = self.engine.cross_entropy(logits, part.labels)
            return self.regularised(self.architecture_loss(loss, mixtures)), logits

        parameters = [*self.weight_optimiser.parameters, *self.architecture_parameters()]
        result = self.engine.gradients(batch, objective, parameters)
        self.weight_optimiser.apply()
        self.architecture_optimiser.apply()
        return result

    def state(self) -> dict[str, Any]:
        stopping = {} if self.early_stopping is None else {"oles": self.early_stopping.state()}
        return {
            "alpha": self.alpha.state_dict(),
            **super().state(),
            "architecture_optimiser": self.architecture_optimiser.state(),
            **stopping,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.alpha.load_state_dict(state["alpha"])
        self.architecture_optimiser.load_state(state["architecture_optimiser"])
        if self.early_stopping is not None:
            self.early_stopping.load_state(state["oles"])


def group_columns(space: SearchSpace, groups: Groups) -> list[list[int]]:
    """The columns of each group among the space's operations."""
    return [[space.operations.index(op) for op in group] for group in groups]


def columns_of(space: SearchSpace, names: Sequence[str]) -> list[int]:
    """The columns of these operations."""
    return [space.operations.index(name) for name in names]


def without_zero(space: SearchSpace) -> tuple[str, ...]:
    """The operations of the space that connect."""
    return tuple(op for op in space.operations if op != ZERO)


def seven_operations(space: SearchSpace) -> tuple[str, ...]:
    """What methods search that were published with seven of the eight DARTS operations.

    In the DARTS space all but Zero. Their code searches Zero too in S3 and NAS-Bench-201,
    where it is how an edge vanishes.
    """
    return without_zero(space) if space.name == "darts" else space.operations
