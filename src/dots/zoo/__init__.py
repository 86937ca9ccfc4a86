"""Published cells, as data: every one with where it comes from and what was printed of it.

The data lie in `genotypes.json` beside this file. Cells of other spaces (NASNet, AmoebaNet,
ENAS, PNAS, SETN, GDAS with its fixed reduction cell) are converted to the numbering used
here: nodes 0 and 1 are the outputs of the cells k-2 and k-1.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from dots.common.errors import UserError, did_you_mean, shown
from dots.common.files import parse_json
from dots.common.records import GENOTYPE
from dots.space.formats import is_text, read
from dots.space.genotype import Genotype
from dots.space.search_space import DARTS_OPERATIONS, SearchSpace
from dots.zoo.dense import DENSE, dense_form

__all__ = ["PUBLISHED", "ZooEntry", "entries", "find", "load", "names", "resolve"]


PUBLISHED = ("DOTS_C10", "PC_DARTS_C10", "GDAS_V1")
"""The cells that a searched one competes with, the first of them above all."""


@dataclass(frozen=True)
class ZooEntry:
    """A published cell.

    `printed` holds the figures as they were printed: for each place that printed them, the
    size in millions of parameters ("cifar_params_M", "cifar100_params_M",
    "imagenet_params_M") or of multiply-adds ("cifar_madds_M", "imagenet_madds_M").
    `notes` says what to know before comparing, or is empty.
    """

    name: str
    paper: str
    repository: str
    searched_on: str
    printed: Mapping[str, Mapping[str, float]]
    notes: str
    genotype: Genotype

    @property
    def extra_operations(self) -> tuple[str, ...]:
        """The operations of the cells beyond those of the DARTS space, sorted."""
        cells = self.genotype.cells.values()
        used = {edge.op for cell in cells for node in cell.nodes for edge in node}
        return tuple(sorted(used.difference(DARTS_OPERATIONS)))

    def figure(self, name: str) -> float | None:
        """The figure `name` of `printed`, from the first place that printed it."""
        return next((place[name] for place in self.printed.values() if name in place), None)

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values, the genotype in its file format."""
        return {
            "name": self.name,
            "paper": self.paper,
            "repository": self.repository,
            "searched_on": self.searched_on,
            "extra_operations": list(self.extra_operations),
            "printed": {place: dict(figures) for place, figures in self.printed.items()},
            "notes": self.notes,
            "genotype": self.genotype.to_json(),
        }


@cache
def entries() -> tuple[ZooEntry, ...]:
    """All published cells, in the order of the file."""
    text = (files(__name__) / "genotypes.json").read_text(encoding="utf-8")
    return tuple(_entry(value) for value in parse_json(text, what="the zoo", where="the zoo"))


def _entry(value: Mapping[str, Any]) -> ZooEntry:
    return ZooEntry(
        name=value["name"],
        paper=value["paper"],
        repository=value["repository"],
        searched_on=value["searched_on"],
        printed=value.get("printed", {}),
        notes=value.get("notes", ""),
        genotype=Genotype.from_json(value["genotype"], where=value["name"]),
    )


def names() -> tuple[str, ...]:
    """The names of all published cells."""
    return tuple(entry.name for entry in entries())


def load(name: str) -> ZooEntry:
    """The published cell called `name`; case, '-' and '_' do not matter.

    Raises UserError for an unknown name.
    """
    entry = find(name)
    if entry is None:
        raise UserError(f"no published cell {shown(name)}: {did_you_mean(name, names())}")
    return entry


def find(name: str) -> ZooEntry | None:
    """The published cell called `name`, or None."""
    wanted = _folded(name)
    return next((entry for entry in entries() if _folded(entry.name) == wanted), None)


def _folded(name: str) -> str:
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def resolve(text: str, others: Iterable[str] = (), space: SearchSpace | None = None) -> Genotype:
    """The genotype that a command line names: a published cell, a file, or a run's folder.

    Or NAME-dense, a published cell in its dense form; or a genotype itself, in the notation of
    DARTS or of NAS-Bench-201.

    A published cell takes precedence over a file of the same name in the current folder
    (write `./NAME` for that). In a folder `genotype.json` is read. `others` are names that may
    have been meant too: an error suggests them. `space` as in `Genotype.from_json`.

    Raises UserError where `text` is none of them, or the file is no genotype.
    """
    if (entry := find(text)) is not None:
        return entry.genotype
    if text.endswith(DENSE) and (entry := find(text.removesuffix(DENSE))) is not None:
        return dense_form(entry.genotype)
    if is_text(text):
        return read(text, where="the genotype")
    if os.path.isdir(text):
        return Genotype.load(Path(text) / GENOTYPE, space)
    if os.path.isfile(text) or Path(text).suffix == ".json" or os.path.basename(text) != text:
        return Genotype.load(text, space)
    hint = did_you_mean(text, (*names(), *others))
    raise UserError(f"{shown(text)} is neither a genotype file nor a published cell: {hint}")
