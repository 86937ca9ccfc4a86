"""What a benchmark's table says of the cells of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace
from dots.zoo.nasbench201 import SPACE, Table, to_string


@dataclass(frozen=True)
class Truth:
    """The true accuracies of all cells of NAS-Bench-201."""

    table: Table

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> Truth:
        """Read the table for a search in `space`.

        Raises UserError where the space is not the table's, or the file is no such table.
        """
        if space.name != SPACE:
            raise UserError(
                f"a table of true accuracies exists for the space {SPACE!r} alone, not for "
                f"{space.name!r}: choose --space {SPACE}, or leave out --table"
            )
        return cls(Table.load(path))

    def describe(self, cells: Mapping[str, Genotype]) -> dict[str, Any]:
        """For each named cell what `Table.truth` gives, and what to compare it with.

        A cell that the benchmark does not have (two operations on an edge) is null.
        "truth_best" holds the best cell of each column, "truth_random" the mean accuracy of
        all cells and the percentage of cells that are not better than this mean.
        """
        known = {key: self._of(cell) for key, cell in cells.items()}
        return {**known, "truth_best": self._best(), "truth_random": self._random()}

    def _of(self, cell: Genotype) -> dict[str, dict[str, float]] | None:
        try:
            return self.table.truth(cell)
        except UserError:
            return None

    def _best(self) -> dict[str, dict[str, Any]]:
        found = {}
        for column in self.table.columns:
            cell = self.table.best(column)
            found[column] = {**self.table.truth(cell)[column], "cell": to_string(cell)}
        return found

    def _random(self) -> dict[str, dict[str, float]]:
        found = {}
        for column in self.table.columns:
            mean = self.table.mean(column)
            not_better = float((self.table.accuracies(column) <= mean).mean())
            found[column] = {"accuracy": mean, "percentile": 100 * not_better}
        return found
