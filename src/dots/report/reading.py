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

from pydantic import BaseModel, TypeAdapter, ValidationError

from dots.common import records
from dots.common.errors import UserError
from dots.common.files import read_json
from dots.common.records import (
    Alternatives,
    ArchitectureRow,
    Candidates,
    DataRecord,
    Halving,
    KnownSizes,
    MetricRow,
    Record,
    Result,
    Samples,
    TestRecord,
    TopologyRecord,
    first_problem,
)
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace

FOUND = "found"
SEARCHED = "searched"
KNOWN_FILES = (
    records.RECIPE,
    records.ENVIRONMENT,
    records.METRICS,
    records.ARCHITECTURE,
    records.NOTICES,
    *records.GENOTYPES.values(),
    *(model.file for model in (DataRecord, Candidates, TopologyRecord, Alternatives, Halving)),
    *(model.file for model in (Samples, KnownSizes, TestRecord, Result)),
)

Model = TypeVar("Model", bound=BaseModel)
RecordT = TypeVar("RecordT", bound=Record)
Value = TypeVar("Value")
_LINES = TypeAdapter(tuple[str, ...])


@dataclass(frozen=True)
class Run:
    """A run directory as a report sees it. `broken` explains files that cannot be read."""

    path: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: DataRecord | None
    metrics: tuple[MetricRow, ...]
    architecture: tuple[ArchitectureRow, ...]
    candidates: Candidates | None
    topology: TopologyRecord | None
    alternatives: Alternatives | None
    halving: Halving | None
    genotypes: Mapping[str, Genotype]
    samples: Samples | None
    sizes: KnownSizes | None
    test: TestRecord | None
    result: Result | None
    notices: tuple[str, ...]
    broken: tuple[str, ...]
    space: SearchSpace | None = None
    """The search space, where that is neither ours nor installed and was given."""

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


def read_run(path: Path, space: SearchSpace | None = None) -> Run:
    """Read the run directory at `path`; `space` is its own where no name tells it.

    Raises UserError where `path` is no directory, or holds none of a run's files.
    """
    if not path.is_dir():
        raise UserError(f"no run directory {str(path)!r}: name the folder that a run wrote")
    if not any((path / name).is_file() for name in KNOWN_FILES):
        raise UserError(f"{str(path)!r} is not a run: it has no recipe.json nor other run files")
    reader = _Reader(path, space)
    result = reader.record(Result)
    return Run(
        path=path,
        recipe=reader.mapping(records.RECIPE, "a recipe"),
        environment=reader.mapping(records.ENVIRONMENT, "the environment of a run"),
        data=reader.record(DataRecord),
        metrics=reader.lines(records.METRICS, MetricRow),
        architecture=reader.lines(records.ARCHITECTURE, ArchitectureRow),
        candidates=reader.record(Candidates),
        topology=reader.record(TopologyRecord),
        alternatives=reader.record(Alternatives),
        halving=reader.record(Halving),
        genotypes=reader.genotypes(result),
        samples=reader.record(Samples),
        sizes=reader.record(KnownSizes),
        test=reader.record(TestRecord),
        result=result,
        notices=reader.notices(),
        broken=tuple(reader.broken),
        space=space,
    )


class _Reader:
    """Reads the files of one directory and collects what was wrong with them."""

    def __init__(self, path: Path, space: SearchSpace | None) -> None:
        self.path, self.space = path, space
        self.broken: list[str] = []

    def _guarded(self, name: str, read: Callable[[Path], Value]) -> Value | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            return read(path)
        except ValidationError as error:
            self.broken.append(f"{name}: {first_problem(error)}")
        except UserError as error:
            self.broken.append(f"{name}: {error}")
        return None

    def record(self, model: type[RecordT]) -> RecordT | None:
        return self._guarded(
            model.file, lambda path: model.model_validate(read_json(path, what=model.what))
        )

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

    def notices(self) -> tuple[str, ...]:
        """What was said of the run so far; a search without training has no result to say it."""

        def read(path: Path) -> tuple[str, ...]:
            return _LINES.validate_python(read_json(path, what="the notices of a run"))

        return self._guarded(records.NOTICES, read) or ()

    def _genotype(self, path: Path) -> Genotype:
        return Genotype.load(path, self.space)

    def genotypes(self, result: Result | None) -> dict[str, Genotype]:
        found = {
            key: genotype
            for key, name in records.GENOTYPES.items()
            if (genotype := self._guarded(name, self._genotype)) is not None
        }
        for key, numbers in (result.baselines if result else {}).items():
            if key not in found and numbers.genotype is not None:
                try:
                    where = f"baseline {key!r}"
                    found[key] = Genotype.from_json(numbers.genotype, where, self.space)
                except UserError as error:
                    self.broken.append(f"result.json: {error}")
        return found


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
