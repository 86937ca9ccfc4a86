"""How good is a cell? By the benchmark's table, or by training its network from scratch."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from dots.common.errors import UserError
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.space.genotype import Genotype
from dots.study.base import Results
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
