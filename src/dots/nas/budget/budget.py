"""A budget at work: limits, what networks cost, the choice within them, the random cell's too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dots.common.errors import UserError
from dots.common.records import TopologyRecord
from dots.nas.budget.cost_table import CostTable, Metric, counted_tables
from dots.nas.budget.distribution import Beliefs, recorded_beliefs, uniform_beliefs
from dots.nas.budget.latency import LatencyTable
from dots.nas.budget.most_probable import check_each, derive_within, largest_choice
from dots.nas.budget.penalty import CostPenalty, uniform_kept
from dots.nas.random_cell import random_genotype
from dots.networks.body import Shape
from dots.recipe import BudgetSettings, TopologySettings
from dots.space.genotype import Genotype
from dots.space.search_space import ZERO, Candidates, SearchSpace

MOST_CHOICES = 200_000
"""Choices of edges and operations of a node up to which cells are ranked."""
DRAWS = 1000
"""How many random cells are drawn to find one within the limits."""


@dataclass(frozen=True)
class Allowance:
    """The budget of a recipe for networks of one space, shape and image size (pixels)."""

    space: SearchSpace
    budget: BudgetSettings
    topology: TopologySettings
    shape: Shape
    image_size: int
    latency: LatencyTable | None = None

    @cached_property
    def limits(self) -> Mapping[Metric, float]:
        """The most that the derived network may cost, by metric."""
        limits: dict[Metric, float] = {}
        if self.budget.max_parameters is not None:
            limits["parameters"] = self.budget.max_parameters
        if self.budget.max_multiply_adds is not None:
            limits["multiply_adds"] = self.budget.max_multiply_adds
        if self.budget.latency_target is not None:
            limits["nanoseconds"] = 1e6 * self.budget.latency_target
        return limits

    @cached_property
    def tables(self) -> tuple[CostTable, ...]:
        """What networks cost: parameters, multiply-adds, and latency where it is known.

        Raises UserError where the latency table is of other networks, or missing.
        """
        counted = counted_tables(self.space, self.shape, self.image_size)
        if self.latency is None:
            if self.budget.latency_target is not None:
                raise UserError("a latency target needs latencies, and the run has none")
            return counted
        costs = self.latency.costs(self.space, self.shape, self.image_size)
        known = {op for _, op, _ in costs.edges}
        missing = [op for op in self.space.operations if op != ZERO and op not in known]
        if missing:
            raise UserError(f"the latency table has no {missing[0]}: run dots profile again")
        return (*counted, costs)

    def check(self, candidates: Candidates | None = None) -> None:
        """Raise UserError where no cell is within each of the limits.

        Without `candidates` every edge may have every operation: what fails then fails in
        every search.
        """
        if self.limits:
            chosen = self.space.full_candidates if candidates is None else candidates
            check_each(self._uniform(chosen), self.tables, self.limits)

    def _uniform(self, candidates: Candidates) -> Beliefs:
        return uniform_beliefs(
            self.space,
            candidates,
            parameterisation=self.topology.parameterisation,
            edges=self.topology.edges,
            threshold=self.topology.threshold,
        )

    def known(self, candidates: Candidates, record: TopologyRecord) -> Beliefs | None:
        """What a topology search believes; None where its cells are too many to rank.

        `record` is the content of topology.json. Raises UserError where they would have to
        be ranked for a limit.
        """
        known = recorded_beliefs(self.space, candidates, record, self.topology.threshold)
        if largest_choice(known) <= MOST_CHOICES:
            return known
        if self.limits:
            raise UserError(
                "a node has too many choices of edges and operations to search them within a "
                "budget: set topology.edges to pairs, or nodes to fewer"
            )
        return None

    def choose(self, known: Beliefs | None, genotype: Genotype) -> Genotype:
        """The most probable cell within the limits; `genotype`, that of all, without limits."""
        if not self.limits or known is None:
            return genotype
        return derive_within(known, self.tables, self.limits).genotype

    def penalty(self) -> CostPenalty | None:
        """The term for the loss of both searches, or None without a weight."""
        if not self.budget.weight:
            return None
        kept = uniform_kept(self.space, self.topology.choices.edges)
        return CostPenalty(self.space, self.tables, self.limits, self.budget.weight, kept)

    def fits(self, genotype: Genotype) -> bool:
        """Whether the cell's network is within the limits. All nodes must have an input."""
        return self._excess(genotype) <= 0

    def _excess(self, genotype: Genotype) -> float:
        """The largest share by which a limit is exceeded, below zero where none is."""
        shares = [
            table.total(genotype) / self.limits[table.metric] - 1
            for table in self.tables
            if table.metric in self.limits
        ]
        return max(shares, default=-1.0)

    def random_cell(self, seed: int, number: int = 0) -> Genotype:
        """A uniformly random cell; with limits the first of a thousand draws within them.

        If there is none, the draw that exceeds them least. Another `number` draws others.
        """
        if not self.limits:
            return random_genotype(self.space, self.topology.edges, seed, number * DRAWS)
        best: tuple[float, Genotype] | None = None
        for draw in range(number * DRAWS, (number + 1) * DRAWS):
            cell = random_genotype(self.space, self.topology.edges, seed, draw)
            excess = self._excess(cell)
            if excess <= 0:
                return cell
            if best is None or excess < best[0]:
                best = excess, cell
        assert best is not None
        return best[1]
