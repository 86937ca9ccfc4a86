"""Studies that compare groups of cells: who judges them, their rows, table and figure.

A cell is as good as the benchmark's table says, or as its network is after a training.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from dots.common.errors import UserError
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.space.genotype import Genotype
from dots.study import figures, lines
from dots.study.base import Results, Study
from dots.study.lines import Line, Row
from dots.study.options import Options
from dots.study.trial import Trial, train_spec
from dots.zoo.nasbench201 import Truth

# The network that NAS-Bench-201 trained on CIFAR-10.
_BENCHMARK = Shape(cells=15, channels=16, image_channels=3, classes=10)


@dataclass(frozen=True)
class Verdict:
    """What is known of a cell: accuracy as a fraction, cost of the network that reached it.

    `truth` is what the table says (percentages), where there is one.
    """

    accuracy: float | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    train_seconds: float | None = None
    truth: dict[str, Any] | None = None
    error: str | None = None


class Judge(ABC):
    """Where accuracies come from."""

    @abstractmethod
    def trials(self, genotype: Genotype, seed: int) -> list[Trial]:
        """What must be done to know the accuracy."""

    @abstractmethod
    def verdict(self, genotype: Genotype, seed: int, results: Results) -> Verdict | None:
        """What is known; None while a trial is still to be done."""


class TableJudge(Judge):
    """The table's accuracies, whatever the seed; parameters are the benchmark's network's."""

    def __init__(self, truth: Truth, column: str) -> None:
        self.truth = truth
        self.column = column
        self._known: dict[Genotype, Verdict] = {}

    def trials(self, genotype: Genotype, seed: int) -> list[Trial]:
        return []

    def verdict(self, genotype: Genotype, seed: int, results: Results) -> Verdict:
        if genotype not in self._known:
            self._known[genotype] = self._look_up(genotype)
        return self._known[genotype]

    def _look_up(self, genotype: Genotype) -> Verdict:
        try:
            truth = self.truth.table.truth(genotype)
        except UserError as error:  # two operations on an edge
            return Verdict(error=str(error))
        accuracy = truth[self.column]["accuracy"] / 100
        return Verdict(accuracy, parameters=_parameters(genotype), truth=truth)


def _parameters(genotype: Genotype) -> int | None:
    """Of the benchmark's network; None for a cell without a path from input to output."""
    try:
        with torch.device("meta"):
            network = DerivedNetwork(genotype, _BENCHMARK, fast=False)
    except UserError:  # the benchmark trained it all the same
        return None
    return sum(parameter.numel() for parameter in network.parameters())


class TrainingJudge(Judge):
    """Training from scratch by the recipe, with the seed. Equal cells are trained once."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def trials(self, genotype: Genotype, seed: int) -> list[Trial]:
        options = self.options
        recipe = options.seeded(seed, method={})
        spec = train_spec(options.data, recipe, options.machine, genotype)
        return [Trial(training_name(genotype, seed), spec)]

    def verdict(self, genotype: Genotype, seed: int, results: Results) -> Verdict | None:
        record = results.get(training_name(genotype, seed))
        if record is None:
            return None
        if record.result is None:
            return Verdict(error=f"training: {record.error}")
        found = record.result
        return Verdict(
            found["test_accuracy"],
            found["parameters"],
            found["multiply_adds"],
            found["train_seconds"],
        )


def training_name(genotype: Genotype, seed: int) -> str:
    """The name of the trial that trains a cell: equal for equal cells and seeds."""
    text = json.dumps(genotype.to_json(), sort_keys=True)
    return f"train-{hashlib.sha256(text.encode()).hexdigest()[:12]}-seed{seed}"


def make_judge(options: Options) -> Judge:
    """The table where there is one, else training."""
    if options.truth is None:
        return TrainingJudge(options)
    return TableJudge(options.truth, options.true_column)


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
