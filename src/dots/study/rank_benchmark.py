"""Fig. 1 in NAS-Bench-201: all topologies of the operations found, against the table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from dots.space.edge_combinations import EdgeChoice
from dots.study.base import Results
from dots.study.cells import TableJudge
from dots.study.lines import Row
from dots.study.rank import ABOVE_DARTS, DARTS, DOTS, EDGES, NEXT_TO_BETA, OTHERS, Choice, Rank
from dots.study.ratings import NodeRating, Topology, all_topologies, edge_count, rate
from dots.study.searches import Found
from dots.study.statistics import kendall_tau

COUNT = "number of edges alone"


class RankBenchmark(Rank):
    """All 1 × 3 × 7 = 21 topologies of the operations found, none excluded.

    The number of edges alone ranks these well. So τ is also taken among topologies with the
    same number of edges at every node, where that says nothing.
    """

    title: ClassVar[str] = "Ratings of the 21 topologies of the operations found (NAS-Bench-201)"
    edges: ClassVar[EdgeChoice] = "any"

    @cached_property
    def judge(self) -> TableJudge:
        assert self.options.truth is not None
        return TableJudge(self.options.truth, self.options.true_column)

    def measures(self) -> tuple[str, ...]:
        return (*super().measures(), COUNT)

    def expected(self) -> int:
        return (1 + len(OTHERS)) * len(self.options.seeds)

    def topologies(self, base: Found) -> tuple[Topology, ...]:
        return tuple(all_topologies(self.space))

    def judged(self, seed: int, base: Found, results: Results) -> Row:
        table, column = self.judge.truth.table, self.judge.column
        cells = (self.genotype(base, topology) for topology in self.topologies(base))
        return {"accuracies": [table.look_up(cell)[column].accuracy / 100 for cell in cells]}

    def _scores(
        self, measure: str, base: Found, found: Found, epoch: int | None
    ) -> list[float] | None:
        if measure == COUNT:
            return self.scores(base, edge_count)
        return super()._scores(measure, base, found, epoch)

    def common(self, measure: str, seed: int, base: Found | None) -> Row:
        return {**super().common(measure, seed, base), "sizes": None}

    def row(
        self, measure: str, seed: int, base: Found, judged: Row, scores: Sequence[float]
    ) -> Row:
        topologies, accuracies = self.topologies(base), judged["accuracies"]
        allowed = [self._may_choose(measure, topology) for topology in topologies]
        best = _best(scores, allowed)
        kept = self.genotype(base, topologies[best[0]])
        accuracy = sum(accuracies[place] for place in best) / len(best)
        choice = Choice(kept, accuracy, self.judge.verdict(kept, seed, {}).parameters)
        row = self.common(measure, seed, base)
        row = self.compared(row, base, scores, accuracies, choice)
        return {
            **row,
            "sizes": [f"{sum(map(len, topology))} edges" for topology in topologies],
        }

    def scores(self, base: Found, rating: NodeRating) -> list[float]:
        return [rate(rating, topology) for topology in self.topologies(base)]

    def agreement(self, base: Found, scores: Sequence[float], accuracies: Sequence[float]) -> Row:
        sizes = [tuple(map(len, topology)) for topology in self.topologies(base)]
        return {
            "tau": kendall_tau(scores, accuracies),
            "tau_equal_size": kendall_tau(scores, accuracies, sizes),
        }

    def _may_choose(self, measure: str, topology: Topology) -> bool:
        """DARTS' and PC-DARTS' rule keeps two edges at each node, or all where there are fewer."""
        if measure not in (DARTS, EDGES):
            return True
        counts = map(len, self.space.cell.incoming)
        return all(len(kept) == min(2, n) for kept, n in zip(topology, counts, strict=True))

    def columns(self) -> dict[str, tuple[str, float, int]]:
        return {
            "tau": ("Kendall τ", 1, 2),
            "tau_equal_size": ("τ at equal size", 1, 2),
            "above_darts": ABOVE_DARTS,
            "regret": ("regret, points", 100, 2),
        }

    def opening(self) -> str:
        return (
            f"For each seed all {len(all_topologies(self.space))} topologies of the operations "
            "that the search decided on ('none' excluded), rated by each measure; τ is Kendall's "
            "τ-b with the true accuracies. 'At equal size' counts only pairs of topologies with "
            "the same number of edges at every node, where the number of edges says nothing. "
            "Regret: accuracy of the best of these topologies minus that of the one which the "
            f"measure's own rule keeps (two edges a node for {DARTS.partition(':')[0]} and "
            f"{EDGES.partition(':')[0]}, the most probable for {DOTS.partition(':')[0]} and the "
            "sigmoid, all for the count). Where every topology is about equally accurate, as "
            "with skip connections alone, τ means little: look at the spread in the figure. "
            f"{NEXT_TO_BETA}"
        )


def _best(scores: Sequence[float], allowed: Sequence[bool]) -> list[int]:
    """The places of the best rated of those that are allowed."""
    places = [place for place, may in enumerate(allowed) if may]
    top = max(scores[place] for place in places)
    return [place for place in places if scores[place] == top]
