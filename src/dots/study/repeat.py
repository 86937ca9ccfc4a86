"""Table 1's own row, independent searches; and whether they beat random cells at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dots.common.seeding import seed_for
from dots.nas.random_cell import random_genotype
from dots.study import lines
from dots.study.base import Results
from dots.study.cells import Cell, CellStudy
from dots.study.lines import Line, Row
from dots.study.searches import Found, found_by, search_trial
from dots.study.trial import Trial


class Repeat(CellStudy):
    """One search, and one training where there is no table, for each seed."""

    name: ClassVar[str] = "repeat"
    title: ClassVar[str] = "Independent searches"
    keys: ClassVar[tuple[str, ...]] = ("strategy", "variant")

    def check(self) -> None:
        super().check()
        self.options.check_strategy()

    def _search(self, seed: int) -> Trial:
        return search_trial(self.options, self.options.seeded(seed))

    def searches(self, results: Results) -> list[Trial]:
        return [self._search(seed) for seed in self.options.seeds]

    def expected(self) -> int:
        return len(self.options.seeds) * (1 if self.options.truth else 2)

    def cells(self, results: Results) -> list[Cell]:
        return searched_cells(self, results)

    def opening(self) -> str:
        return (
            "Each seed is a search of its own and, without a table, a training of its own. The "
            "best of several is higher than what one search gives on average: the mean is what "
            "to expect."
        )


def searched_cells(study: Repeat, results: Results) -> list[Cell]:
    """The cell that each seed's search found, and its cost."""
    options = study.options
    labels = {
        "strategy": options.recipe.strategy,
        "variant": "topology search",
        "topology_search": True,
    }
    cells = []
    for seed, trial in zip(options.seeds, study.searches({}), strict=True):
        found = found_by(trial, results)
        if isinstance(found, str):
            cells.append(Cell(labels, seed, None, found, search=trial.name))
        elif found is not None:
            cells.append(
                Cell(
                    labels,
                    seed,
                    found.genotype,
                    seconds=sum(found.seconds),
                    cpu_seconds=sum(found.cpu_seconds),
                    undecided=found.undecided,
                    search=trial.name,
                )
            )
    return cells


RANDOM = "random cell"
MOST_EQUIVALENT = 10**6


class AgainstRandom(Repeat):
    """For each seed a search, and as many random cells as its time would have trained.

    Time is that of the search and of training the cell it found; a random cell costs what
    training the seed's first random cell took. At least one is trained, at most
    `random_cells`. Where a table gives accuracies, training has no cost, and `random_cells`
    are drawn for each seed.
    """

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Search against random cells at equal cost"

    def expected(self) -> int:
        seeds = len(self.options.seeds)
        return seeds if self.options.truth else 3 * seeds  # and more, where time allows

    def cells(self, results: Results) -> list[Cell]:
        cells = super().cells(results)
        for seed in self.options.seeds:
            for index in range(self.affordable(seed, results)):
                cells.append(self._random(seed, index))
        return cells

    def _random(self, seed: int, index: int) -> Cell:
        drawn = seed if index == 0 else seed_for(seed, "study", index)
        genotype = random_genotype(self.options.space, self.options.recipe.topology.edges, drawn)
        labels = {"strategy": RANDOM, "variant": None, "topology_search": None}
        return Cell(labels, seed, genotype)

    def affordable(self, seed: int, results: Results) -> int:
        """How many random cells the seed's search could have trained in its time."""
        if self.options.truth is not None:
            return self.options.random_cells
        found = found_by(self._search(seed), results)
        first = self._random(seed, 0).genotype
        assert first is not None
        one = self.judge.verdict(first, seed, results)
        if not isinstance(found, Found) or one is None or not one.train_seconds:
            return 1
        own = self.judge.verdict(found.genotype, seed, results)
        if own is None or own.train_seconds is None:
            return 1
        budget = sum(found.seconds) + own.train_seconds
        return min(max(1, int(budget / one.train_seconds)), self.options.random_cells)

    def comparisons(self, rows: Sequence[Row]) -> list[Line]:
        """The found cell against every random cell of its seed, their mean and their best."""
        each, mean, best = [], [], []
        for seed in self.options.seeds:
            ours = _accuracies(rows, seed, random=False)
            theirs = _accuracies(rows, seed, random=True)
            if ours and theirs:
                each += [(ours[0], other) for other in theirs]
                mean.append((ours[0], sum(theirs) / len(theirs)))
                best.append((ours[0], max(theirs)))
        return [
            lines.comparison("found − each random cell of its seed", each),
            lines.comparison("found − mean random cell of its seed", mean),
            lines.comparison("found − best random cell of its seed (by test accuracy)", best),
        ]

    def extras(self, rows: Sequence[Row]) -> dict[str, object]:
        """Also "random_cells_to_match", by seed, where a table tells it."""
        return {**super().extras(rows), "random_cells_to_match": self._to_match(rows)}

    def _to_match(self, rows: Sequence[Row]) -> dict[str, int | None] | None:
        if self.options.truth is None:
            return None
        all_cells = self.options.truth.table.accuracies(self.options.true_column) / 100
        found = {seed: _accuracies(rows, seed, random=False) for seed in self.options.seeds}
        return {
            str(seed): cells_to_match(all_cells, values[0])
            for seed, values in found.items()
            if values
        }

    def opening(self) -> str:
        text = (
            "Random cells: a uniformly random choice of edges and of operations other than none. "
            "Choosing the best random cell by its test accuracy flatters random search, which "
            "would have to choose without the test images. Cells of one seed are not independent "
            "pairs: the interval of 'each random cell' is too narrow. "
        )
        if self.options.truth is not None:
            return text + (
                f"{self.options.random_cells} random cells for each seed; the table knows their "
                "accuracies, so cost is not compared, but random_cells_to_match in study.json "
                "says how many random cells one would expect to train for an equal best."
            )
        return text + (
            "So many random cells were trained for each seed as fit into the time of its search "
            f"and training, at most {self.options.random_cells}."
        )


def _accuracies(rows: Sequence[Row], seed: int, *, random: bool) -> list[float]:
    return [
        row["accuracy"]
        for row in rows
        if row["seed"] == seed
        and (row["strategy"] == RANDOM) is random
        and row["accuracy"] is not None
    ]


def cells_to_match(accuracies: npt.NDArray[np.float64], accuracy: float) -> int | None:
    """The fewest uniformly random cells whose best is expected to be at least `accuracy`.

    `accuracies` are those of all cells, [cells]; cells are drawn with replacement. None where
    more than a million would be needed.
    """
    ordered = np.sort(accuracies)
    shares = np.arange(len(ordered) + 1) / len(ordered)

    def expected_best(count: int) -> float:
        return float((np.diff(shares**count) * ordered).sum())

    if expected_best(MOST_EQUIVALENT) < accuracy:
        return None
    low, high = 0, 1
    while expected_best(high) < accuracy:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if expected_best(middle) < accuracy:
            low = middle
        else:
            high = middle
    return high
