"""IS-DARTS (He et al., AAAI 2024): candidates shrink by the information in their outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dots.data.batch import Batch
from dots.nas.strategies.base import (
    MethodSettings,
    Mixtures,
    Phase,
    ScoreTable,
    SearchContext,
    SupernetSearch,
)
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.candidate_pruning import CandidatePruning, Tables
from dots.nas.strategies.shared.unrolled import untouched_statistics
from dots.networks.kernels.node_sum import Term
from dots.networks.operations.candidates import Zero
from dots.networks.operations.source import Source, complete
from dots.networks.supernet import EdgePlan, MixedEdge, Mixture, Supernet
from dots.training.engine import StepResult

_REFERENCE_EPOCHS = 30
"""The length of search that the published intervals belong to."""


class IsDartsSettings(MethodSettings):
    """When the candidates shrink; the defaults are the published ones."""

    steps: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="how often the candidates shrink; absent: 4 in NAS-Bench-201, else 7",
    )
    interval: float | None = Field(
        default=None,
        gt=0,
        le=1e4,
        description="epochs between two of these, of 30, in proportion; absent: 2 in "
        "NAS-Bench-201, else 3",
    )


class InformationEdge(MixedEdge):
    """A mixed edge that can measure the outputs of its candidates as it runs."""

    def __init__(self, plan: EdgePlan) -> None:
        super().__init__(plan)
        self.kind, self.index = plan.kind, plan.index
        self.found: list[Tensor] | None = None
        """While measuring: of the last forward, each candidate's information, 0-d."""

    def forward(
        self,
        source: Source,
        weights: Sequence[Tensor],
        edge_weight: Tensor | None,
        active: Sequence[bool],
    ) -> list[Term]:
        if self.found is None:
            return super().forward(source, weights, edge_weight, active)
        terms, nothing = [], source.x.new_full((), math.inf)
        self.found = []
        for operation, weight, runs in zip(self.operations, weights, active, strict=False):
            if not runs or isinstance(operation, Zero):
                self.found.append(nothing)
                continue
            parts = operation(source)
            self.found.append(information(complete(parts, fast=False)).sum())
            terms.append(parts.weighted(weight))
        return terms


class IsDarts(SupernetSearch):
    """No α: w on all images under the mean of the candidates, which shrink at the end.

    An operation is rated by 3(y-μ)²/σ⁶ of its outputs y, μ and σ over the channels at every
    position, mean over positions, images and cells. The smaller the better: it is the
    negative curvature of the log-density in the variance, large where an output hardly
    varies, and infinite for one that says nothing (Zero); the authors' code removes the
    largest as well. In NAS-Bench-201 each shrinking drops the worst of every edge, down to
    one; elsewhere the worst of all candidates of a node's edges, the same number each time.
    There the publication ends with two (edge, operation) pairs a node. Here an edge keeps its
    last operation, so that a topology search has something to choose; without one the best
    two edges of each node are kept. It is measured on the training images as the epoch before
    a shrinking goes by, the publication passes over them once more at its end.
    """

    name: ClassVar[str] = "is-darts"
    Settings: ClassVar[type[MethodSettings]] = IsDartsSettings
    one_level: ClassVar[bool] = True
    published: ClassVar[Mapping[str, object]] = MappingProxyType({**Darts.published, "epochs": 30})
    method: IsDartsSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        self.pruning = CandidatePruning(
            context.space, context.space.full_candidates, context.engine.device
        )
        super().__init__(context, method)
        shape = (len(context.space.cell.edges), len(context.space.operations))
        zeros = {kind: torch.zeros(shape, dtype=torch.float64) for kind in context.space.kinds}
        self.totals = zeros
        """Sums of this epoch's information over images and cells, on the CPU."""
        self.rated: Tables = dict(zeros)
        """1 / (1 + information) when the candidates last shrank: the larger, the better."""

    def build_supernet(self) -> Supernet:
        return self.context.supernet(make_edge=InformationEdge)

    def mixtures(self, phase: Phase) -> Mixtures:
        """The mean over the candidates that are left; what is gone does not run."""
        names = self.pruning.candidates
        return {
            kind: Mixture(
                kept / kept.sum(1, keepdim=True),
                active=tuple(
                    tuple(op in left for op in self.context.space.operations)
                    for left in names[kind]
                ),
            )
            for kind, kept in self._kept_numbers().items()
        }

    def _kept_numbers(self) -> Tables:
        dtype = next(self.supernet.parameters()).dtype
        return {kind: mask.to(dtype) for kind, mask in self.pruning.kept.items()}

    def shrinkings(self, epoch: int) -> int:
        """How often the candidates shrink after this epoch: in a short search more than once."""
        return sum(end == epoch for end in self.ends())

    def ends(self) -> list[int]:
        """The epochs after which they shrink; the last but one is the last of them."""
        every_edge = self.context.space.policy_edges is None
        steps = self.method.steps or (4 if every_edge else 7)
        interval = self.method.interval or (2.0 if every_edge else 3.0)
        scale, epochs = self.settings.epochs / _REFERENCE_EPOCHS, self.settings.epochs
        behind = [scale * interval * place for place in reversed(range(steps))]
        return [max(0, epochs - 2 - math.ceil(each)) for each in behind]

    def begin_epoch(self, epoch: int) -> None:
        self.totals = {kind: torch.zeros_like(table) for kind, table in self.totals.items()}

    def why_steps_differ(self, epoch: int) -> str:
        return f"{self.name} measures operations in each step" if self.shrinkings(epoch) else ""

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        result = self.weight_step(batch)
        if self.shrinkings(epoch):
            self.measure(batch)
        return result

    def end_epoch(self, epoch: int) -> dict[str, float]:
        times = self.shrinkings(epoch)
        for _ in range(times):
            self.shrink(self.totals)
        left = [len(names) for edges in self.pruning.candidates.values() for names in edges]
        return {"operations_left": sum(left) / len(left)}

    @torch.no_grad()
    def measure(self, batch: Batch) -> None:
        """Add what the outputs of all candidates say of a batch, over all processes."""
        edges = [m for m in self.supernet.modules() if isinstance(m, InformationEdge)]
        for edge in edges:
            edge.found = []
        with untouched_statistics(self.supernet), self.engine.autocast():
            self.supernet(self.engine.input(batch.images), self.mixtures("weights"))
        found = torch.stack([torch.stack(edge.found or []) for edge in edges]).float()
        for edge, row in zip(edges, self.engine.processes.sum(found).cpu(), strict=True):
            self.totals[edge.kind][edge.index] += row
            edge.found = None

    def shrink(self, totals: Tables) -> None:
        """Drop the candidates that say least, by what was measured."""
        left = max(1, len(self.ends()) - self.pruning.rounds)
        self.rated = {kind: 1 / (1 + table) for kind, table in totals.items()}
        kept = {kind: self._survivors(kind, left) for kind in totals}
        self.pruning.prune(kept, self.rated)

    def _survivors(self, kind: str, left: int) -> Tensor:
        """The mask [E, O] after one of the `left` shrinkings that are to come."""
        space, kept = self.context.space, self.pruning.kept[kind].cpu()
        mask, rated = kept.clone(), self.rated[kind]
        groups: Sequence[Sequence[int]]
        if space.policy_edges is None:
            groups, least = [(edge,) for edge in range(len(mask))], 1
        else:
            groups, least = space.cell.incoming, 2
        for edges in groups:
            places = [(e, o) for e in edges for o in range(mask.shape[1]) if kept[e, o]]
            drop = math.ceil(max(0, len(places) - least) / left)
            for edge, column in sorted(places, key=lambda place: float(rated[place]))[:drop]:
                if mask[edge].sum() > 1:
                    mask[edge, column] = False
        return mask

    @torch.no_grad()
    def scores(self) -> ScoreTable:
        """How little an operation varies, where it is left; those that are gone rank below."""
        return self.pruning.scores(self.rated)

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "narrowing": self.pruning.state(),
            "totals": dict(self.totals),
            "rated": dict(self.rated),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.pruning.load_state(state["narrowing"])
        self.totals = {kind: table.cpu() for kind, table in state["totals"].items()}
        self.rated = {kind: table.cpu() for kind, table in state["rated"].items()}


def information(y: Tensor) -> Tensor:
    """3(y-μ)²/σ⁶, mean over channels and positions; [B, C, H, W] -> [B].

    μ and σ are over the channels at every position. Infinite where an image's output does
    not vary somewhere.
    """
    deviation = y - y.mean(1, keepdim=True)
    variance = y.var(1, keepdim=True)
    found = 3 * deviation.square() / variance**3
    return torch.where(found.isnan(), math.inf, found).mean((1, 2, 3))
