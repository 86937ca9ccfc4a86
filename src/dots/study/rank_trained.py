"""Fig. 1 in the DARTS space: ten pairs of edges of one node, each trained from scratch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations as pairs_of
from typing import ClassVar

from dots.common.errors import UserError
from dots.space.edge_combinations import EdgeChoice, combinations
from dots.study.base import Results
from dots.study.cells import TrainingJudge
from dots.study.lines import Row
from dots.study.rank import ABOVE_DARTS, NEXT_TO_BETA, OTHERS, Choice, Rank
from dots.study.ratings import NodeRating, Topology
from dots.study.searches import Found
from dots.study.statistics import kendall_tau
from dots.study.trial import Trial

INCOMING = 5


class RankTrained(Rank):
    """The ten pairs of the five edges into one node of the normal cell (Sec. 3.2).

    The rest of the cell is as the search found it. Each pair is trained with each of
    `train_seeds` seeds, so that the noise of training stands beside the differences.
    """

    title: ClassVar[str] = "Ratings of the ten pairs of edges into one node"
    edges: ClassVar[EdgeChoice] = "pairs"

    def check(self) -> None:
        """Also: the space must have a node with five incoming edges."""
        super().check()
        if self.options.space.policy_edges is None:
            raise UserError(
                f"the study 'rank' in the space {self.options.space.name!r} takes true "
                "accuracies from a table: give --table FILE"
            )
        _ = self.node

    @property
    def node(self) -> int:
        """The node whose pairs are rated, counted from 0."""
        for node, incoming in enumerate(self.space.cell.incoming):
            if len(incoming) == INCOMING:
                return node
        raise UserError(f"no node of a cell has {INCOMING} incoming edges: set nodes to 4 or more")

    @property
    def judge(self) -> TrainingJudge:
        return TrainingJudge(self.options)

    def expected(self) -> int:
        pairs = math.comb(INCOMING, 2)
        return len(self.options.seeds) * (1 + len(OTHERS) + pairs * self.options.train_seeds)

    def topologies(self, base: Found) -> tuple[Topology, ...]:
        """The found topology with each pair at the node in place of its own."""
        kept = set(base.topology["kept_edges"][self.kind])
        found = [
            tuple(place for place, edge in enumerate(incoming) if edge in kept)
            for incoming in self.space.cell.incoming
        ]
        return tuple(
            (*found[: self.node], pair, *found[self.node + 1 :])
            for pair in combinations(INCOMING, "pairs")
        )

    def trainings(self, seed: int, base: Found) -> list[Trial]:
        return [
            trial
            for topology in self.topologies(base)
            for train_seed in range(self.options.train_seeds)
            for trial in self.judge.trials(self.genotype(base, topology), train_seed)
        ]

    def judged(self, seed: int, base: Found, results: Results) -> Row | None:
        """Mean, deviation and single accuracies of each pair that was trained at least once."""
        trained, parameters = [], []
        for topology in self.topologies(base):
            genotype = self.genotype(base, topology)
            verdicts = [
                self.judge.verdict(genotype, train_seed, results)
                for train_seed in range(self.options.train_seeds)
            ]
            if any(verdict is None for verdict in verdicts):
                return None
            trained.append([v.accuracy for v in verdicts if v is not None])
            known = [v.parameters for v in verdicts if v is not None and v.parameters is not None]
            parameters.append(known[0] if known else None)
        complete = [[a for a in accuracies if a is not None] for accuracies in trained]
        if not all(complete):
            return {"error": "a pair could not be trained with any seed: see trials/train-*"}
        return {
            "accuracies": [sum(values) / len(values) for values in complete],
            "deviations": [_deviation(values) for values in complete],
            "single": trained,
            "parameters": parameters,
        }

    def common(self, measure: str, seed: int, base: Found | None) -> Row:
        more = ("deviations", "single_accuracies", "noise", "spread", "tau_between_seeds")
        return {**super().common(measure, seed, base), **dict.fromkeys(more)}

    def row(
        self, measure: str, seed: int, base: Found, judged: Row, scores: Sequence[float]
    ) -> Row:
        topologies = self.topologies(base)
        accuracies, deviations = judged["accuracies"], judged["deviations"]
        best = max(range(len(scores)), key=scores.__getitem__)
        kept = self.genotype(base, topologies[best])
        choice = Choice(kept, accuracies[best], judged["parameters"][best])
        row = self.common(measure, seed, base)
        row = self.compared(row, base, scores, accuracies, choice)
        known = [deviation for deviation in deviations if deviation is not None]
        noise = math.sqrt(sum(d * d for d in known) / len(known)) if known else None
        return {
            **row,
            "deviations": deviations if len(known) == len(deviations) else None,
            "single_accuracies": judged["single"],
            "noise": noise,
            "spread": _deviation(accuracies),
            "tau_between_seeds": _tau_between_seeds(judged["single"]),
        }

    def scores(self, base: Found, rating: NodeRating) -> list[float]:
        return [rating(self.node, topology[self.node]) for topology in self.topologies(base)]

    def agreement(self, base: Found, scores: Sequence[float], accuracies: Sequence[float]) -> Row:
        tau = kendall_tau(scores, accuracies)
        return {"tau": tau, "tau_equal_size": tau}  # all are pairs

    def columns(self) -> dict[str, tuple[str, float, int]]:
        return {
            "tau": ("Kendall τ", 1, 2),
            "above_darts": ABOVE_DARTS,
            "regret": ("regret, points", 100, 2),
            "noise": ("noise of training, points", 100, 2),
            "spread": ("spread of pairs, points", 100, 2),
            "tau_between_seeds": ("τ between seeds", 1, 2),
        }

    def opening(self) -> str:
        return (
            f"For each search seed the {math.comb(INCOMING, 2)} pairs of the {INCOMING} edges "
            f"into intermediate node {self.node + 1} of the normal cell, the rest of the cell as "
            "found; all pairs have two edges, so the number of edges says nothing. Each was "
            f"trained with {self.options.train_seeds} seeds of their own, and τ is Kendall's τ-b "
            "with the means; bars in the figure are standard deviations of single trainings. "
            "'Noise of training' is that deviation over all pairs, 'spread of pairs' the "
            "deviation of the means, which noise alone makes larger than zero. 'τ between seeds' "
            "is how well one training ranks the pairs of another: where it is near zero, no "
            "rating can be seen to be right. Regret: accuracy of the best pair minus that of the "
            f"best rated. {NEXT_TO_BETA}"
        )


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _tau_between_seeds(single: Sequence[Sequence[float | None]]) -> float | None:
    """The mean τ between the accuracies of two trainings of all pairs, over pairs of seeds."""
    columns = [list(column) for column in zip(*single, strict=True)]
    whole = [[value for value in column if value is not None] for column in columns]
    whole = [column for column in whole if len(column) == len(single)]
    found = [kendall_tau(one, other) for one, other in pairs_of(whole, 2)]
    known = [tau for tau in found if tau is not None]
    return sum(known) / len(known) if known else None
