"""Reading a run directory, finished, stopped in the middle, or still growing.

A file that is absent is None here; one that cannot be read is None too, and `broken` says
why, so that a report can say so instead of failing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dots.common.errors import UserError
from dots.common.files import read_json
from dots.common.records import (
    Alternatives,
    ArchitectureRow,
    Candidates,
    Confusion,
    DataPart,
    Halving,
    KnownSizes,
    MetricRow,
    Result,
    Samples,
    Topology,
)
from dots.space.genotype import Genotype

FOUND = "found"
SEARCHED = "searched"
GENOTYPE_FILES = {
    FOUND: "genotype.json",
    SEARCHED: "genotype-searched.json",
    "random": "genotype-random.json",
    "darts-policy": "genotype-darts-policy.json",
}
KNOWN_FILES = (
    "recipe.json",
    "environment.json",
    "data.json",
    "metrics.jsonl",
    "architecture.jsonl",
    "candidates.json",
    "topology.json",
    "alternatives.json",
    "halving.json",
    "samples.json",
    "sizes.json",
    "test.json",
    "result.json",
    *GENOTYPE_FILES.values(),
)

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Run:
    """A run directory as a report sees it. `broken` explains files that cannot be read."""

    path: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: DataPart | None
    metrics: tuple[MetricRow, ...]
    architecture: tuple[ArchitectureRow, ...]
    candidates: Candidates | None
    topology: Topology | None
    alternatives: Alternatives | None
    halving: Halving | None
    genotypes: Mapping[str, Genotype]
    samples: Samples | None
    sizes: KnownSizes | None
    test: Confusion | None
    result: Result | None
    broken: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name

    def setting(self, dotted: str) -> Any:
        """The recipe's value at `dotted` ("train.epochs"), or None where there is none."""
        value: Any = self.recipe
        for key in dotted.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    def rows(self, stage: str) -> list[MetricRow]:
        """The metrics of `stage` by epoch; of an epoch that was run twice the later row."""
        return _by_epoch(row for row in self.metrics if row.stage == stage)

    def architecture_rows(self, stage: str) -> list[ArchitectureRow]:
        """The architecture weights of `stage` by epoch, the later row of two."""
        return _by_epoch(row for row in self.architecture if row.stage == stage)


RowT = TypeVar("RowT", MetricRow, ArchitectureRow)


def _by_epoch(rows: Iterator[RowT]) -> list[RowT]:
    latest = {row.epoch: row for row in rows}
    return [latest[epoch] for epoch in sorted(latest)]


def read_run(path: Path) -> Run:
    """Read the run directory at `path`.

    Raises UserError where `path` is no directory, or holds none of a run's files.
    """
    if not path.is_dir():
        raise UserError(f"no run directory {str(path)!r}: name the folder that a run wrote")
    if not any((path / name).is_file() for name in KNOWN_FILES):
        raise UserError(f"{str(path)!r} is not a run: it has no recipe.json nor other run files")
    reader = _Reader(path)
    result = reader.model("result.json", Result, "the result of a run")
    return Run(
        path=path,
        recipe=reader.mapping("recipe.json", "a recipe"),
        environment=reader.mapping("environment.json", "the environment of a run"),
        data=reader.model("data.json", DataPart, "a description of the data"),
        metrics=reader.lines("metrics.jsonl", MetricRow),
        architecture=reader.lines("architecture.jsonl", ArchitectureRow),
        candidates=reader.model("candidates.json", Candidates, "candidate operations"),
        topology=reader.model("topology.json", Topology, "the end of a topology search"),
        alternatives=reader.model("alternatives.json", Alternatives, "the alternatives of a cell"),
        halving=reader.model("halving.json", Halving, "a successive halving"),
        genotypes=reader.genotypes(result),
        samples=reader.model("samples.json", Samples, "sample images"),
        sizes=reader.model("sizes.json", KnownSizes, "the sizes of known networks"),
        test=reader.test(),
        result=result,
        broken=tuple(reader.broken),
    )


class _Reader:
    """Reads the files of one directory and collects what was wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken: list[str] = []

    def _guarded(self, name: str, read: Callable[[Path], Value]) -> Value | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            return read(path)
        except ValidationError as error:
            self.broken.append(f"{name}: {_first_problem(error)}")
        except UserError as error:
            self.broken.append(f"{name}: {error}")
        return None

    def model(self, name: str, model: type[Model], what: str) -> Model | None:
        return self._guarded(name, lambda path: model.model_validate(read_json(path, what=what)))

    def mapping(self, name: str, what: str) -> Mapping[str, Any]:
        value = self._guarded(name, lambda path: read_json(path, what=what))
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.broken.append(f"{name}: expected an object with {what}")
            return {}
        return value

    def lines(self, name: str, model: type[Model]) -> tuple[Model, ...]:
        rows = self._guarded(name, lambda path: read_lines(path, model))
        if rows is None:
            return ()
        good, bad = rows
        if bad:
            self.broken.append(f"{name}: {bad} unreadable lines were left out")
        return good

    def genotypes(self, result: Result | None) -> dict[str, Genotype]:
        found = {
            key: genotype
            for key, name in GENOTYPE_FILES.items()
            if (genotype := self._guarded(name, Genotype.load)) is not None
        }
        for key, numbers in (result.baselines if result else {}).items():
            if key not in found and numbers.genotype is not None:
                try:
                    found[key] = Genotype.from_json(numbers.genotype, where=f"baseline {key!r}")
                except UserError as error:
                    self.broken.append(f"result.json: {error}")
        return found

    def test(self) -> Confusion | None:
        test = self.model("test.json", Confusion, "test results")
        if test is None:
            return None
        size = len(test.classes)
        if len(test.confusion) != size or any(len(row) != size for row in test.confusion):
            self.broken.append(f"test.json: the confusion matrix is not {size} x {size}")
            return None
        return test


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{place}: {first['msg']}"


def read_lines(path: Path, model: type[Model]) -> tuple[tuple[Model, ...], int]:
    """The rows of a file of JSON lines, and how many lines could not be read.

    The last line may be half-written by a live run, or torn by a crash: such a one is left
    out and not counted. Raises UserError where the file itself cannot be read.
    """
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    *lines, last = text.split("\n")  # a whole file ends with a line break, so `last` is empty
    rows = [_row(line, model) for line in lines if line.strip()]
    final = _row(last, model)
    good = [row for row in rows if row is not None]
    bad = len(rows) - len(good)
    return tuple(good if final is None else [*good, final]), bad


def _row(line: str, model: type[Model]) -> Model | None:
    try:
        return model.model_validate(json.loads(line))
    except (ValueError, RecursionError):  # pydantic's and json's errors are ValueErrors
        return None
