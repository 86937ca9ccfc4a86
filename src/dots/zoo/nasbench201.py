"""NAS-Bench-201: every topology, and the table of true accuracies.

The benchmark (Dong and Yang, ICLR 2020) trained all 15,625 cells of its space. Cells are
written in its notation, see `dots.space.formats.nasbench201`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dots.common.errors import UserError, did_you_mean, shown
from dots.common.records import TableEntries, TableEntry, TruthRecord
from dots.space.formats.nasbench201 import SPACE, from_string, to_string
from dots.space.genotype import Genotype
from dots.space.search_space import NASBENCH201_OPERATIONS, SearchSpace, nasbench201_space

__all__ = ["SPACE", "Standing", "Table", "Truth", "all_strings", "from_string", "to_string"]


def all_strings() -> list[str]:
    """All 15,625 cells in the benchmark's notation."""
    cell = nasbench201_space().cell
    found = []
    for operations in product(NASBENCH201_OPERATIONS, repeat=len(cell.edges)):
        labels = [
            "".join(f"|{operations[edge]}~{cell.edges[edge][0]}" for edge in incoming) + "|"
            for incoming in cell.incoming
        ]
        found.append("+".join(labels))
    return found


@dataclass(frozen=True)
class Standing:
    """Where a cell stands among all cells of a table, by one of its columns.

    `accuracy` in percent. `rank` is 1 + the number of cells that are strictly better: 1 is
    best, equal cells share the better rank. `percentile` is the percentage of cells, itself
    included, that are not better: the best has 100.
    """

    accuracy: float
    rank: int
    percentile: float


class Table:
    """The true accuracies of cells, with their ranks.

    A table has a column "arch" (the benchmark's notation) and any number of columns of
    accuracies in percent, whose names key everything that is looked up.
    """

    def __init__(
        self, cells: Sequence[str], accuracies: Mapping[str, npt.NDArray[np.float64]]
    ) -> None:
        """`accuracies` holds for each column one value per cell, [cells]."""
        self._rows = {cell: row for row, cell in enumerate(cells)}
        self._cells = tuple(cells)
        self._accuracies = dict(accuracies)
        self._ordered = {name: np.sort(values) for name, values in accuracies.items()}

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """Read a parquet file of the layout above.

        Raises UserError where the file is missing or no parquet, a column is missing or holds
        anything but finite numbers, or a cell is repeated or not in the benchmark's notation.
        """
        return _load(Path(path))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of accuracies."""
        return tuple(self._accuracies)

    def __len__(self) -> int:
        """The number of cells."""
        return len(self._cells)

    def accuracies(self, column: str) -> npt.NDArray[np.float64]:
        """The accuracies of all cells, [cells], in the order of the file."""
        if column not in self._accuracies:
            hint = did_you_mean(column, self.columns)
            raise UserError(f"the table has no column {shown(column)}: {hint}")
        return self._accuracies[column]

    def look_up(self, genotype: Genotype) -> dict[str, Standing]:
        """Where a cell stands, for each column. Raises UserError where it is not listed."""
        cell = to_string(genotype)
        if cell not in self._rows:
            raise UserError(f"the table has no cell {cell!r}: use the table of all cells")
        row = self._rows[cell]
        return {name: self._standing(name, float(v[row])) for name, v in self._accuracies.items()}

    def _standing(self, column: str, accuracy: float) -> Standing:
        ordered = self._ordered[column]
        not_better = int(np.searchsorted(ordered, accuracy, side="right"))
        rank = 1 + len(ordered) - not_better
        return Standing(accuracy, rank, 100 * not_better / len(ordered))

    def truth(self, genotype: Genotype) -> dict[str, dict[str, float]]:
        """As `look_up`, as JSON values: what `result.json` holds under "truth"."""
        return {name: asdict(standing) for name, standing in self.look_up(genotype).items()}

    def best(self, column: str) -> Genotype:
        """The cell with the highest accuracy in `column`, the first in the file of equals."""
        return from_string(self._cells[int(np.argmax(self.accuracies(column)))])

    def mean(self, column: str) -> float:
        """The mean accuracy of all cells: what a random cell has on average, in percent."""
        return float(self.accuracies(column).mean())


def _load(path: Path) -> Table:
    import pyarrow  # heavy: only who asks for the truth pays for it
    import pyarrow.parquet

    where = repr(str(path))
    if not path.is_file():
        raise UserError(f"no file {where}: expected the NAS-Bench-201 table (parquet) there")
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"cannot read {where} as parquet: {str(error).splitlines()[0]}") from None
    numeric = [field.name for field in table.schema if pyarrow.types.is_floating(field.type)]
    if "arch" not in table.column_names or not numeric:
        found = ", ".join(table.column_names[:8]) or "none"
        needed = "'arch' and columns of accuracies such as 'cifar10_test'"
        raise UserError(f"{where} has the columns {found}: it needs {needed}")
    cells = table.column("arch").to_pylist()
    _check_cells(cells, where)
    accuracies = {}
    for name in numeric:
        values = table.column(name).to_numpy().astype(np.float64)
        if not np.isfinite(values).all():
            raise UserError(f"{where}: the column {name!r} has missing or non-finite accuracies")
        accuracies[name] = values
    return Table(cells, accuracies)


def _check_cells(cells: Sequence[object], where: str) -> None:
    if not cells:
        raise UserError(f"{where} has no rows: expected a row for each cell")
    known = set(all_strings())
    seen: set[object] = set()
    for cell in cells:
        if not isinstance(cell, str) or cell not in known:
            raise UserError(f"{where}: {shown(cell)} in 'arch' is no NAS-Bench-201 cell")
        if cell in seen:
            raise UserError(f"{where} lists the cell {shown(cell)} twice")
        seen.add(cell)


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
