"""The zoo as a table: what was printed of each cell beside what we count."""

from __future__ import annotations

from dataclasses import dataclass

from dots.zoo import ZooEntry, entries
from dots.zoo.counts import Count, counts
from dots.zoo.remarks import remark

_PRINTED = {
    "cifar10": ("cifar_params_M", "cifar_madds_M"),
    "cifar100": ("cifar100_params_M", "cifar100_madds_M"),
    "imagenet": ("imagenet_params_M", "imagenet_madds_M"),
}


@dataclass(frozen=True)
class ZooRow:
    """A published cell on one data set.

    `printed_parameters` and `printed_multiply_adds` are in millions, as printed first (the
    paper's tables, else the repository), or None. `count.size` says with which skeleton,
    cells and channels we count. `remark` says why the two differ, where they do.
    """

    entry: ZooEntry
    data: str
    printed_parameters: float | None
    printed_multiply_adds: float | None
    count: Count
    remark: str


def zoo_rows() -> tuple[ZooRow, ...]:
    """All cells: a row for each data set with printed parameters; CIFAR-10 where there are none."""
    rows: list[ZooRow] = []
    for entry in entries():
        counted = counts(entry.name)
        found = [_row(entry, data, count) for data, count in counted.items()]
        printed = [row for row in found if row.printed_parameters is not None]
        rows += printed or found[:1]
    return tuple(rows)


def _row(entry: ZooEntry, data: str, count: Count) -> ZooRow:
    parameters, multiply_adds = _PRINTED[data]
    return ZooRow(
        entry=entry,
        data=data,
        printed_parameters=entry.figure(parameters),
        printed_multiply_adds=entry.figure(multiply_adds),
        count=count,
        remark=remark(entry.name, data),
    )


def agrees(printed: float, counted: int) -> bool:
    """Whether a count is the printed number of millions, rounded or cut."""
    decimals = len(str(printed).partition(".")[2]) if printed != int(printed) else 0
    if printed < 100:  # parameters: at least one decimal is printed
        decimals = max(decimals, 1)
    return bool(abs(counted / 1e6 - printed) < 10**-decimals - 1e-9)
