"""Fig. 1: do the weights of a search rank topologies as their true accuracies do?"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from dots.space.discretise import build_genotype
from dots.space.edge_combinations import EdgeChoice
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace
from dots.study import figures, lines, ratings
from dots.study.base import Results, Study
from dots.study.lines import Line, Row
from dots.study.ratings import NodeRating, Topology, importance, rating_of_search, summed
from dots.study.searches import Found, found_by, search_trial, with_topology
from dots.study.trial import Json, Trial

DOTS = "DOTS: joint log-probability of β"
DARTS = "DARTS: summed edge importance"
EDGES = "PC-DARTS: summed edge weights"
SIGMOID = "edge-level sigmoid: joint log-probability"
AVERAGE = "β: mean over T from 0.5 to 0.15"
BEST = "β: at the temperature that is best for the other seeds"
HELD_OUT = "β trained on held-out images"
SUPERNET = "supernet: minus the loss, one-hot γ"
PERTURBED = "DARTS-PT: summed loss without each edge"
OTHERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        EDGES: {"parameterisation": "edges", "edges": "pairs"},
        SIGMOID: {"parameterisation": "sigmoid", "edges": "pairs"},
        HELD_OUT: {"held_out": True},
        PERTURBED: {"select": "perturbation", "rate": True},
    }
)
"""Measures with a topology search of their own, and its settings."""
NEXT_TO_BETA = (
    "Beside the last β: its mean over the steps with T from 0.5 to 0.15; β after the epoch that "
    "ranks best for the other seeds; the loss of the same supernet with each topology, one-hot; "
    "and from the same operations a search of β on held-out images, and a supernet with uniform "
    "weights of which single edges are taken away. By epoch: what β would have given after each "
    "epoch of its search, at temperature T."
)
MOST_PANEL_ROWS = 4
ABOVE_DARTS = ("τ of one size minus DARTS'", 1, 2)


@dataclass(frozen=True)
class Choice:
    """The cell that a measure's own rule keeps: the mean accuracy of equally rated ones."""

    genotype: Genotype
    accuracy: float
    parameters: int | None


@dataclass(frozen=True)
class _Judged:
    """A search, what is known of its family, and how β ranked that after each epoch."""

    base: Found
    judged: Row
    by_epoch: list[Row]


def best_epoch(histories: Sequence[Sequence[Row]]) -> int | None:
    """The epoch whose β ranks topologies of one size best, mean over some seeds' histories.

    The later of two that rank alike; None where there is no ranking.
    """
    best: tuple[float, int] | None = None
    for epoch, entries in enumerate(zip(*histories, strict=True)):
        known = [e["tau_equal_size"] for e in entries if e["tau_equal_size"] is not None]
        if known:
            mean = sum(known) / len(known)
            best = max(best or (mean, epoch), (mean, epoch))
    return None if best is None else best[1]


class Rank(Study):
    """A family of topologies for each seed, rated by different weights.

    The DOTS search decides the operations on all edges, and rates topologies by β: at its end,
    by its mean, after an epoch chosen with the other seeds, and by the loss of its supernet.
    From these operations PC-DARTS' edge weights, the edge-level sigmoid, β on held-out images
    and a supernet to perturb are searched anew. DARTS' importance comes from the operation
    search.
    """

    name: ClassVar[str] = "rank"
    title: ClassVar[str] = "Rank correlation of edge importance with accuracy"
    edges: ClassVar[EdgeChoice]
    """What the DOTS search chooses among: "any" or "pairs"."""

    def check(self) -> None:
        super().check()
        self.options.check_strategy()

    @property
    def space(self) -> SearchSpace:
        return self.options.space

    @property
    def kind(self) -> str:
        """The cell kind whose topologies are rated: the first, normal one."""
        return self.space.kinds[0]

    def measures(self) -> tuple[str, ...]:
        """What topologies are rated by."""
        return (DOTS, AVERAGE, BEST, HELD_OUT, SUPERNET, DARTS, EDGES, SIGMOID, PERTURBED)

    def base(self, seed: int) -> Trial:
        """The DOTS search."""
        settings = {"parameterisation": "combinations", "edges": self.edges, "rate": True}
        return search_trial(self.options, with_topology(self.options.seeded(seed), **settings))

    def other(self, measure: str, seed: int, base: Found) -> Trial:
        """The search of another topology parameterisation, with the operations of `base`."""
        settings = {"parameterisation": "combinations", "edges": self.edges, **OTHERS[measure]}
        recipe = with_topology(self.options.seeded(seed), **settings)
        operations = base.topology["operations"]
        candidates: Json = {
            "version": 1,
            "space": self.space.name,
            "candidates": {kind: [[op] for op in ops] for kind, ops in operations.items()},
        }
        return search_trial(self.options, recipe, candidates)

    def trials(self, results: Results) -> list[Trial]:
        trials = []
        for seed in self.options.seeds:
            trials.append(self.base(seed))
            base = found_by(self.base(seed), results)
            if isinstance(base, Found):
                trials += [self.other(measure, seed, base) for measure in OTHERS]
                trials += self.trainings(seed, base)
        return trials

    def trainings(self, seed: int, base: Found) -> list[Trial]:
        """The trainings of a family, where there is no table."""
        return []

    @abstractmethod
    def topologies(self, base: Found) -> tuple[Topology, ...]:
        """The family's topologies."""

    @abstractmethod
    def judged(self, seed: int, base: Found, results: Results) -> Row | None:
        """ "accuracies" of the family's topologies and what else is known of all of them.

        None while something is still to be done, {"error": ...} where it has failed.
        """

    def rows(self, results: Results) -> list[Row]:
        rows, known, waiting = [], {}, False
        for seed in self.options.seeds:
            base = found_by(self.base(seed), results)
            judged = self.judged(seed, base, results) if isinstance(base, Found) else None
            waiting |= base is None or (isinstance(base, Found) and judged is None)
            if isinstance(base, str):
                rows += [self.failed(measure, seed, base) for measure in self.measures()]
            elif base is not None and judged is not None:
                known[seed] = _Judged(base, judged, self._by_epoch(base, judged))
        for seed in known:
            others = {} if waiting else {s: each for s, each in known.items() if s != seed}
            made = {m: self._row(m, seed, known[seed], others, results) for m in self.measures()}
            if waiting:
                del made[BEST]  # which goes by all seeds
            found = [row for row in made.values() if row is not None]
            rows += [self._above_darts(row, made[DARTS]) for row in found]
        order = {seed: place for place, seed in enumerate(self.options.seeds)}
        return sorted(rows, key=lambda row: order[row["seed"]])

    def _row(
        self,
        measure: str,
        seed: int,
        own: _Judged,
        others: Mapping[int, _Judged],
        results: Results,
    ) -> Row | None:
        base, judged = own.base, own.judged
        if judged.get("error"):
            return self.failed(measure, seed, str(judged["error"]))
        found: Found | str | None = base
        if measure in OTHERS:
            found = found_by(self.other(measure, seed, base), results)
        if found is None:
            return None
        if isinstance(found, str):
            return self.failed(measure, seed, found)
        epoch = best_epoch([each.by_epoch for each in others.values() if each.by_epoch])
        if measure == BEST and epoch is None:
            return self.failed(measure, seed, "there is no other seed to choose by")
        scores = self._scores(measure, base, found, epoch)
        if scores is None:
            return self.failed(measure, seed, "the search has noted no such rating")
        row = self.row(measure, seed, base, judged, scores)
        if measure == BEST and epoch is not None:
            row["temperature"] = base.history[epoch]["temperature"]
        return {**row, "by_epoch": own.by_epoch if measure == DOTS else None}

    def _scores(
        self, measure: str, base: Found, found: Found, epoch: int | None
    ) -> list[float] | None:
        """The rating of each topology of the family; None where the search did not note it."""
        space, kind, topology = self.space, self.kind, found.topology
        if measure == SUPERNET:
            return self._supernet_scores(base)
        if measure == DARTS:
            return self.scores(base, summed(space, importance(space, base.scores, kind)))
        if measure == BEST and epoch is not None:
            rating = ratings.rating_after(space, base.history[epoch], self.edges, kind)
            return self.scores(base, rating)
        if measure == PERTURBED:
            edges = topology.get("edge_importance")
            return self.scores(base, summed(space, edges[kind])) if edges else None
        if measure == AVERAGE:
            if not topology.get("mean_beta"):
                return None
            topology = {**topology, "beta": topology["mean_beta"]}
        return self.scores(base, rating_of_search(space, topology, kind))

    def _supernet_scores(self, base: Found) -> list[float] | None:
        """Minus the loss that the supernet itself has with each topology."""
        rated = base.topology.get("supernet_losses", {}).get(self.kind, [])
        table = {tuple(map(tuple, topology)): -loss for topology, loss in rated}
        found = [table.get(topology) for topology in self.topologies(base)]
        known = [score for score in found if score is not None]
        return known if len(known) == len(found) else None

    def _above_darts(self, row: Row, darts: Row | None) -> Row:
        """The row with how much better it ranks topologies of one size than DARTS does."""
        own, other = row["tau_equal_size"], darts["tau_equal_size"] if darts else None
        known = own is not None and other is not None and row["measure"] != DARTS
        return {**row, "above_darts": own - other if known else None}

    def _by_epoch(self, base: Found, judged: Row) -> list[Row]:
        """How β after each epoch ranks, so that what annealing does to the ranking is seen."""
        if judged.get("error"):
            return []
        found = []
        for entry in base.history:
            rating = ratings.rating_after(self.space, entry, self.edges, self.kind)
            agreement = self.agreement(base, self.scores(base, rating), judged["accuracies"])
            place = {name: entry[name] for name in ("epoch", "temperature")}
            found.append({**place, **agreement})
        return found

    @abstractmethod
    def scores(self, base: Found, rating: NodeRating) -> list[float]:
        """The rating of each topology of the family."""

    @abstractmethod
    def agreement(self, base: Found, scores: Sequence[float], accuracies: Sequence[float]) -> Row:
        """ "tau" and "tau_equal_size" of some scores."""

    @abstractmethod
    def row(
        self, measure: str, seed: int, base: Found, judged: Row, scores: Sequence[float]
    ) -> Row:
        """The row of a measure and seed, from its rating of each topology."""

    def failed(self, measure: str, seed: int, error: str) -> Row:
        """The row of what could not be done: the keys of `common`, all null but the error."""
        return {**self.common(measure, seed, None), "error": error}

    def common(self, measure: str, seed: int, base: Found | None) -> Row:
        """The keys of every row, null where `row` fills them in."""
        return {
            "measure": measure,
            "strategy": self.options.recipe.strategy,
            "topology_search": measure != DARTS,
            "seed": seed,
            "topologies": None,
            "tau": None,
            "tau_equal_size": None,
            "above_darts": None,
            "temperature": None,
            "regret": None,
            "accuracy": None,
            "best_accuracy": None,
            "parameters": None,
            "skips": None,
            "seconds": sum(base.seconds) if base else None,
            "undecided": base.undecided if base else None,
            "operations": base.topology["operations"][self.kind] if base else None,
            "scores": None,
            "accuracies": None,
            "by_epoch": None,
            "error": None,
        }

    def compared(
        self,
        row: Row,
        base: Found,
        scores: Sequence[float],
        accuracies: Sequence[float],
        kept: Choice,
    ) -> Row:
        """The row with its correlations, and with what the measure's own rule keeps."""
        best = max(accuracies)
        return {
            **row,
            **self.agreement(base, scores, accuracies),
            "topologies": len(scores),
            "regret": best - kept.accuracy,
            "accuracy": kept.accuracy,
            "best_accuracy": best,
            "parameters": kept.parameters,
            "skips": kept.genotype.skips(self.kind),
            "scores": list(scores),
            "accuracies": list(accuracies),
        }

    def genotype(self, base: Found, topology: Topology) -> Genotype:
        """The cell of a topology with the operations that `base` decided on."""
        operations = base.topology["operations"][self.kind]
        chosen = {
            incoming[position]: (operations[incoming[position]],)
            for incoming, kept in zip(self.space.cell.incoming, topology, strict=True)
            for position in kept
        }
        others = {
            kind: {edge: (ops[edge],) for edge in base.topology["kept_edges"][kind]}
            for kind, ops in base.topology["operations"].items()
        }
        return build_genotype(self.space, {**others, self.kind: chosen})

    def columns(self) -> dict[str, tuple[str, float, int]]:
        """Columns that the table summarises: heading, scale and digits of each."""
        return {
            "tau": ("Kendall τ", 1, 2),
            "above_darts": ABOVE_DARTS,
            "regret": ("regret, points", 100, 2),
        }

    def table(self, rows: Sequence[Row]) -> list[Line]:
        found = []
        for measure in self.measures():
            members = [row for row in rows if row["measure"] == measure]
            line: Line = {"measure": measure, "count": 0, "failed": 0}
            line["count"] = sum(row["error"] is None for row in members)
            line["failed"] = len(members) - line["count"]
            for column in self.columns():
                summary = lines.summary_of(members, column)
                line[column] = summary.to_json() if summary else None
            found.append(line)
        return found

    def markdown(self, rows: Sequence[Row]) -> str:
        header = ["measure"]
        for heading, _, _ in self.columns().values():
            header += [heading, "95 % interval"]
        body = []
        for line in self.table(rows):
            cells = [line["measure"]]
            for column, (_, scale, digits) in self.columns().items():
                cells.append(lines.spread(line[column], scale, digits))
                cells.append(lines.interval(line[column], scale, digits))
            failed = f" (+{line['failed']} failed)" if line["failed"] else ""
            body.append([*cells, f"{line['count']}{failed}"])
        parts = [lines.markdown([*header, "seeds"], body)]
        if epochs := ratings.markdown_by_epoch(rows, self.columns()):
            parts.append(epochs)
        if failures := lines.markdown_of_failures(rows, ("measure",)):
            parts.append(failures)
        return "\n\n".join(parts)

    def draw(self, rows: Sequence[Row], path: Path) -> None:
        """A row of panels for each of the first seeds, a column for each measure."""
        drawn = [row for row in rows if row["error"] is None]
        seeds = [s for s in self.options.seeds if any(row["seed"] == s for row in drawn)]
        grid = [
            [self.panel(row) for row in drawn if row["seed"] == seed]
            for seed in seeds[:MOST_PANEL_ROWS]
        ]
        figures.panels(path, grid, self.title)

    def panel(self, row: Row) -> figures.Panel:
        """The scatter of a row."""
        tau = "undefined" if row["tau"] is None else f"{row['tau']:.2f}"
        title = f"{row['measure'].partition(':')[0]}\nseed {row['seed']}, τ = {tau}"
        return figures.Panel(
            title,
            row["scores"],
            row["accuracies"],
            noise=row.get("deviations"),
            classes=row.get("sizes"),
        )
