"""Table 1's own row: independent searches, each cell judged; best, and mean ± deviation."""

from __future__ import annotations

from typing import ClassVar

from dots.study.base import Results
from dots.study.cells import Cell, CellStudy
from dots.study.searches import found_by, search_trial
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
