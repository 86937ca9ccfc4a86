"""What a benchmark's table says of the cells: accuracy, rank and percentile by column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dots.common.records import Result, TableEntry
from dots.report.reading import Run
from dots.report.wording import points, visible

_DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16_120": "ImageNet16-120"}
_PARTS = {"_test": " test", "_valid": " validation"}


@dataclass(frozen=True)
class Column:
    """A column of the table: its name, the entries by cell, and a sentence on them."""

    name: str
    entries: Mapping[str, TableEntry | None]
    said: str


def truth(run: Run) -> list[Column]:
    """What result.json holds from a table of true accuracies, by column; often nothing."""
    return [_column(run.result, name) for name in run.result.truth_best] if run.result else []


def _column(result: Result, name: str) -> Column:
    cells = {
        "Found cell": result.truth,
        "Without topology search": result.truth_without_topology_search,
        "Best cell": result.truth_best,
        "Random cell, mean": result.truth_random,
    }
    entries = {cell: (table or {}).get(name) for cell, table in cells.items()}
    return Column(column_name(name), entries, " ".join(_said(result, name)))


def _said(result: Result, name: str) -> Iterator[str]:
    def accuracy(entries: dict[str, TableEntry] | None) -> float | None:
        entry = (entries or {}).get(name)
        return None if entry is None else entry.accuracy / 100

    found = accuracy(result.truth)
    if found is None:
        return
    best, random = accuracy(result.truth_best), accuracy(result.truth_random)
    without = accuracy(result.truth_without_topology_search)
    if best is not None and random is not None:
        yield (
            f"The found cell has {points(found - best)} against the best cell, "
            f"{points(found - random)} against the mean random one."
        )
    if without is not None:
        yield f"The topology search changed it by {points(found - without)}."


def column_name(name: str) -> str:
    """A column of the benchmark in words: "cifar10_test" -> "CIFAR-10 test"."""
    for part, words in _PARTS.items():
        data = name.removesuffix(part)
        if data != name and data in _DATA:
            return _DATA[data] + words
    return visible(name)
