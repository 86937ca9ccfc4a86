"""What a benchmark's table says of the cells of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dots.common.errors import UserError
from dots.common.records import TableEntries, TableEntry, TruthRecord
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

    def describe(self, cells: Mapping[str, Genotype]) -> TruthRecord:
        """For each named cell what `Table.look_up` gives, and what to compare it with.

        A cell that the benchmark does not have (two operations on an edge) is null.
        "truth_best" holds the best cell of each column, "truth_random" the mean accuracy of
        all cells and the percentage of cells that are not better than this mean.
        """
        known = {key: self._of(cell) for key, cell in cells.items()}
        return TruthRecord(**known, truth_best=self._best(), truth_random=self._random())

    def _of(self, cell: Genotype) -> TableEntries | None:
        try:
            found = self.table.look_up(cell)
        except UserError:
            return None
        return {name: TableEntry(**asdict(entry)) for name, entry in found.items()}

    def _best(self) -> TableEntries:
        found = {}
        for column in self.table.columns:
            cell = self.table.best(column)
            entry = self.table.look_up(cell)[column]
            found[column] = TableEntry(**asdict(entry), cell=to_string(cell))
        return found

    def _random(self) -> TableEntries:
        found = {}
        for column in self.table.columns:
            mean = self.table.mean(column)
            not_better = float((self.table.accuracies(column) <= mean).mean())
            found[column] = TableEntry(accuracy=mean, percentile=100 * not_better)
        return found
