"""Studies that compare groups of cells: their rows, their table, their figure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from dots.space.genotype import Genotype
from dots.study import figures, lines
from dots.study import lines as captions
from dots.study.base import Line, Results, Row, Study
from dots.study.judges import Judge, make_judge
from dots.study.trial import Trial


@dataclass(frozen=True)
class Cell:
    """A cell to be judged: a row of the study.

    `labels` say which it is (see `CellStudy.keys`), `error` why there is no genotype;
    `seconds` and `cpu_seconds` are those of the search that led to it. `undecided` is how
    undecided β still was at the end, from 0 to 1.
    """

    labels: Mapping[str, Any]
    seed: int
    genotype: Genotype | None
    error: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    undecided: float | None = None
    search: str | None = None
    """The trial of the search, whose folder holds its run and its log."""


class CellStudy(Study):
    """A study whose rows are cells, judged by the benchmark's table or by training."""

    keys: ClassVar[tuple[str, ...]]
    """The labels by which rows are put in groups."""

    @cached_property
    def judge(self) -> Judge:
        return make_judge(self.options)

    @abstractmethod
    def searches(self, results: Results) -> list[Trial]:
        """The searches that can be named already."""

    @abstractmethod
    def cells(self, results: Results) -> list[Cell]:
        """The cells that are known, or known to be missing, in the order of the table."""

    def trials(self, results: Results) -> list[Trial]:
        trainings = [
            trial
            for cell in self.cells(results)
            if cell.genotype is not None
            for trial in self.judge.trials(cell.genotype, cell.seed)
        ]
        return [*self.searches(results), *trainings]

    def rows(self, results: Results) -> list[Row]:
        rows = []
        for cell in self.cells(results):
            if cell.genotype is None:
                rows.append(_row(cell, {"error": cell.error}, []))
                continue
            verdict = self.judge.verdict(cell.genotype, cell.seed, results)
            if verdict is not None:
                trainings = self.judge.trials(cell.genotype, cell.seed)
                rows.append(_row(cell, vars(verdict), trainings))
        return rows

    def table(self, rows: Sequence[Row]) -> list[Line]:
        return lines.summaries(rows, self.keys)

    def comparisons(self, rows: Sequence[Row]) -> list[Line]:
        """Differences between groups, seed by seed."""
        return []

    def references(self) -> dict[str, float]:
        """Accuracies (fractions) to compare with, by name."""
        if self.options.truth is None:
            return {}
        table, column = self.options.truth.table, self.options.true_column
        best = table.truth(table.best(column))[column]["accuracy"]
        return {
            "best cell of the benchmark": best / 100,
            f"mean of all {len(table):,} cells": table.mean(column) / 100,
        }

    def extras(self, rows: Sequence[Row]) -> dict[str, Any]:
        return {"comparisons": self.comparisons(rows), "references": self.references()}

    def markdown(self, rows: Sequence[Row]) -> str:
        parts = [lines.markdown_of_summaries(self.table(rows), self.keys)]
        if self.references():
            parts.append(lines.markdown_of_references(self.references()))
        if compared := self.comparisons(rows):
            parts.append(lines.markdown_of_comparisons(compared))
        if failed := lines.markdown_of_failures(rows, self.keys):
            parts.append(failed)
        return "\n\n".join(parts)

    def caption(self, rows: Sequence[Row]) -> str:
        return " ".join([self.opening(), *captions.about(self.options, rows)])

    @abstractmethod
    def opening(self) -> str:
        """The first sentences of the caption."""

    def draw(self, rows: Sequence[Row], path: Path) -> None:
        groups = [
            (lines.label(line, self.keys), lines.accuracies(rows, line, self.keys))
            for line in self.table(rows)
        ]
        figures.dots(path, groups, self.references(), self.title)


def _row(cell: Cell, verdict: Mapping[str, Any], trainings: Sequence[Trial]) -> Row:
    """Always the same keys, null where nothing is known."""
    genotype = cell.genotype
    kind = next(iter(genotype.cells)) if genotype else ""
    return {
        **cell.labels,
        "seed": cell.seed,
        "accuracy": verdict.get("accuracy"),
        "seconds": cell.seconds,
        "cpu_seconds": cell.cpu_seconds,
        "train_seconds": verdict.get("train_seconds"),
        "parameters": verdict.get("parameters"),
        "multiply_adds": verdict.get("multiply_adds"),
        "skips": genotype.skips(kind) if genotype else None,
        "edges": sum(map(len, genotype.cells[kind].nodes)) if genotype else None,
        "undecided": cell.undecided,
        "truth": verdict.get("truth"),
        "genotype": genotype.to_json() if genotype else None,
        "trials": [*([cell.search] if cell.search else []), *(one.name for one in trainings)],
        "error": verdict.get("error"),
    }
