"""DARTS-PT (Wang et al., ICLR 2021): keep what a trained supernet misses most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dots.common.seeding import generator
from dots.data import Batches
from dots.data.batch import Batch
from dots.nas.strategies.shared.held_out import loss_and_accuracy
from dots.networks.supernet import Mixture, Supernet
from dots.recipe.settings import SearchSettings
from dots.space.discretise import best_operations, build_genotype, derive_all_edges
from dots.space.genotype import Genotype
from dots.space.retain import Scores
from dots.space.search_space import Candidates, SearchSpace
from dots.training.engine import Engine, StepResult
from dots.training.loop import Pair, State
from dots.training.optimisers import WeightOptimiser, search_weight_optimiser

Keep = Callable[[Scores], Candidates]
"""Which operations every edge keeps, by scores over the operations of the space."""
TUNING = 0.1
"""The rate of w between decisions, in rates of the search; it falls to lr_min in a cosine."""


class PerturbationStage:
    """Decides a trained supernet of any method, edge by edge, and tunes it in between.

    First the operations: in a random order each edge of every cell kind is tried without each
    of its operations in turn, and `keep` says which stay by the loss on half B; the others go
    for good. Then the edges: at every node, in a random order, the edge whose removal costs
    least goes until `edges` are left; with "any" until each removal raises the loss; with None
    edges are not decided. Between two decisions `settings.tune_epochs` epochs train w.

    What is kept weighs together what the edge, or the node, weighed before. Mixing weights
    stay as they were given. By the loss, not by the accuracy, which the published code
    offers as well: it tells removals apart that change no prediction.
    """

    def __init__(
        self,
        name: str,
        space: SearchSpace,
        supernet: Supernet,
        mixtures: Mapping[str, Mixture],
        keep: Keep,
        edges: int | str | None,
        settings: SearchSettings,
        engine: Engine,
        batches: Batches,
        held_out: Batches,
        seed: int,
    ) -> None:
        self.name = name
        self.space, self.supernet, self.candidates = space, supernet, supernet.candidates
        self.keep, self.edges, self.settings = keep, edges, settings
        self.least = least_edges(space, edges)
        self.engine, self.own_batches, self.held_out = engine, batches, held_out
        self.steps = batches.steps
        ones = torch.ones(len(space.cell.edges), device=engine.device)
        self.operation_weights = {k: mixtures[k].operations.detach().clone() for k in space.kinds}
        given = {kind: mixtures[kind].edges for kind in space.kinds}
        self.edge_weights = {
            kind: (ones if edges is None else edges).detach().clone()
            for kind, edges in given.items()
        }
        width = len(space.operations)
        unrated = {k: torch.full((len(ones), width), -torch.inf) for k in space.kinds}
        self.ratings: dict[str, Tensor] = unrated
        """The loss without each operation, [edges, operations of the space], on the CPU."""
        self.orders = {kind: self._order(seed, kind) for kind in space.kinds}
        self.rounds = max(len(order) for order in self.orders.values())
        self.epochs = max(1, (self.rounds - 1) * settings.tune_epochs)
        rate = settings.lr * TUNING
        tuning = settings.model_copy(
            update={
                "lr": rate,
                "lr_min": min(rate, settings.lr_min),
                "epochs": self.epochs,
                "lr_epochs": None,
                "lr_offset": 0,
                "warmup_epochs": 0,
            }
        )
        self.weight_optimiser: WeightOptimiser = search_weight_optimiser(
            supernet.parameters(), tuning
        )

    def _order(self, seed: int, kind: str) -> list[tuple[str, int]]:
        """("edge", index) and then ("node", index) in the order of their decisions."""
        choices = [e for e, names in enumerate(self.candidates[kind]) if len(names) > 1]
        incoming = self.space.cell.incoming
        nodes = [n for n, edges in enumerate(incoming) if len(edges) > self.least]
        draw = generator(seed, "perturbation", kind)
        return [
            *(("edge", choices[i]) for i in torch.randperm(len(choices), generator=draw).tolist()),
            *(("node", nodes[i]) for i in torch.randperm(len(nodes), generator=draw).tolist()),
        ]

    @property
    def lr(self) -> float:
        return self.weight_optimiser.lr

    def batches(self, epoch: int, start: int) -> Iterator[Pair]:
        return ((batch, None) for batch in self.own_batches.epoch(epoch, start))

    def begin_epoch(self, epoch: int) -> None:
        if epoch == 0:
            self.decide(0)

    def set_epoch(self, epoch: int) -> None:
        self.weight_optimiser.set_epoch(epoch)

    def step(self, epoch: int, step: int, pair: Pair) -> StepResult:
        mixtures = self.mixtures()

        def objective(part: Batch) -> tuple[Tensor, Tensor]:
            logits = self.supernet(part.images, mixtures)
            return self.engine.cross_entropy(logits, part.labels), logits

        result = self.engine.gradients(pair[0], objective, self.weight_optimiser.parameters)
        self.weight_optimiser.apply()
        return result

    def end_epoch(self, epoch: int) -> dict[str, float]:
        round_, rest = divmod(epoch + 1, self.settings.tune_epochs)
        if not rest and round_ < self.rounds:
            self.decide(round_)
        return {"decided": min(round_ + 1, self.rounds)}

    def decide(self, round_: int) -> None:
        """One edge or node of every cell kind."""
        for kind, order in self.orders.items():
            if round_ < len(order):
                what, index = order[round_]
                (self._project_edge if what == "edge" else self._project_node)(kind, index)

    def mixtures(self) -> dict[str, Mixture]:
        """What is left, in its proportions; what is gone does not run."""
        return {
            kind: Mixture(weights, self.edge_weights[kind], running(weights, self.candidates[kind]))
            for kind, weights in self.operation_weights.items()
        }

    def loss(self) -> float:
        """On the held-out images, of the supernet as it mixes now."""
        batches = self.held_out.epoch(0)  # always the same images, alike augmented
        return loss_and_accuracy(self.supernet, self.mixtures(), batches, self.engine)[0]

    def edge_importance(self) -> dict[str, list[float]]:
        """What the removal of each edge alone adds to the loss: a rating of topologies."""
        full = self.loss()
        return {
            kind: [self._without(weights, edge) - full for edge in range(len(weights))]
            for kind, weights in self.edge_weights.items()
        }

    def _without(self, weights: Tensor, place: int | tuple[int, int]) -> float:
        """The loss with one weight zero for the moment."""
        before = weights[place].clone()
        weights[place] = 0.0
        loss = self.loss()
        weights[place] = before
        return loss

    def _project_edge(self, kind: str, edge: int) -> None:
        names, weights = self.candidates[kind][edge], self.operation_weights[kind]
        for column, name in enumerate(names):
            place = self.space.operations.index(name)
            self.ratings[kind][edge, place] = self._without(weights, (edge, column))
        kept = self.keep(self.scores())[kind][edge]
        weights[edge] = share_out(weights[edge], [name in kept for name in names])

    def _project_node(self, kind: str, node: int) -> None:
        weights = self.edge_weights[kind]
        incoming = list(self.space.cell.incoming[node])
        before = weights[incoming].clone()
        left = list(incoming)
        while len(left) > self.least:
            losses = [self._without(weights, edge) for edge in left]
            worst = min(range(len(left)), key=losses.__getitem__)
            if self.edges == "any" and losses[worst] >= self.loss():
                break
            weights[left.pop(worst)] = 0.0
        weights[incoming] = share_out(before, [edge in left for edge in incoming])

    def scores(self) -> dict[str, list[list[float]]]:
        """The loss without each operation; those that an edge never had rank behind.

        Where an edge has nothing to decide, or has not been reached, the mixing weights.
        """
        table = {}
        for kind, ratings in self.ratings.items():
            rows = []
            for edge, names in enumerate(self.candidates[kind]):
                row = ratings[edge].tolist()
                if not any(rating > -torch.inf for rating in row):
                    mixed = self.operation_weights[kind][edge].tolist()
                    own = dict(zip(names, mixed, strict=False))
                    row = [own.get(op, -torch.inf) for op in self.space.operations]
                least = min(value for value in row if value > -torch.inf)
                rows.append([max(value, least - 1) for value in row])
            table[kind] = rows
        return table

    def kept_edges(self) -> dict[str, tuple[int, ...]]:
        """For each cell kind the indices of the edges that are left."""
        return {
            kind: tuple(edge for edge, weight in enumerate(weights.tolist()) if weight > 0)
            for kind, weights in self.edge_weights.items()
        }

    def operations(self) -> dict[str, tuple[str, ...]]:
        """For each cell kind and edge the operation, other than Zero, that is missed most."""
        full = self.space.full_candidates
        return best_operations(self.space, full, self.scores())

    def genotype(self) -> Genotype:
        """The cell that is left; without a decision on edges, the rule of NAS-Bench-201."""
        if self.edges is None:
            return derive_all_edges(self.space, self.scores())
        best, kept = self.operations(), self.kept_edges()
        chosen = {kind: {e: (best[kind][e],) for e in kept[kind]} for kind in self.space.kinds}
        return build_genotype(self.space, chosen)

    def snapshot(self, epoch: int) -> dict[str, Any] | None:
        return None

    def current(self) -> Genotype | None:
        return None

    def finished(self, epoch: int) -> bool:
        return False

    def module(self) -> nn.Module:
        """The network with running statistics."""
        return self.supernet

    def state(self) -> State:
        return {
            "supernet": self.supernet.state_dict(),
            "weight_optimiser": self.weight_optimiser.state(),
            "operation_weights": dict(self.operation_weights),
            "edge_weights": dict(self.edge_weights),
            "ratings": dict(self.ratings),
        }

    def load_state(self, state: State) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimiser.load_state(state["weight_optimiser"])
        device = self.engine.device
        self.operation_weights = {k: v.to(device) for k, v in state["operation_weights"].items()}
        self.edge_weights = {k: v.to(device) for k, v in state["edge_weights"].items()}
        self.ratings = {kind: table.cpu() for kind, table in state["ratings"].items()}


def least_edges(space: SearchSpace, edges: int | str | None) -> int:
    """How many a node keeps at least; `edges` as of PerturbationStage."""
    named = {None: len(space.cell.edges), "any": 1, "pairs": 2}
    return edges if isinstance(edges, int) else named[edges]


def work(space: SearchSpace, operations: int, edges: int | str | None) -> tuple[int, int]:
    """(decisions in a cell kind, ratings of the supernet in all) with so many operations an edge.

    With "any" edges the most that it can be.
    """
    least = least_edges(space, edges)
    decided = len(space.cell.edges) if operations > 1 else 0
    sizes = [len(incoming) for incoming in space.cell.incoming if len(incoming) > least]
    removals = sum(sum(range(least + 1, size + 1)) for size in sizes)
    return decided + len(sizes), len(space.kinds) * (decided * operations + removals)


def share_out(weights: Tensor, kept: Sequence[bool]) -> Tensor:
    """The kept weights, scaled to the sum of all; equal shares where they weigh nothing.

    weights: [n], of which the first len(kept) count; the others become zero.
    """
    mask = torch.zeros_like(weights)
    mask[: len(kept)] = torch.tensor(kept, dtype=weights.dtype, device=weights.device)
    total, left = weights[: len(kept)].sum(), weights * mask
    return torch.where(left.sum() > 0, left * total / left.sum(), mask * total / mask.sum())


def running(weights: Tensor, candidates: Sequence[Sequence[str]]) -> tuple[tuple[bool, ...], ...]:
    """Which candidates of each edge weigh anything. Waits for the device."""
    rows = weights.tolist()
    return tuple(
        tuple(weight != 0 for weight in row[: len(names)])
        for row, names in zip(rows, candidates, strict=True)
    )
