"""Genotypes: a cell of each kind, and their versioned JSON.

A genotype is what a search returns and what everything downstream takes. Reading one never
executes anything: it is checked JSON, and whatever is wrong with it is said in one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dots.common.errors import UserError, did_you_mean, shown
from dots.common.files import read_text, write_text
from dots.space.cell import Cell, Edge, check_cell, parse_cell
from dots.space.search_space import OURS, SearchSpace, named_space

__all__ = ["Cell", "Edge", "Genotype"]

VERSION = 1


@dataclass(frozen=True)
class Genotype:
    """A cell for each kind ("normal" and, where the space has it, "reduce") of `space`.

    `search_space` is the space itself where the package has none of that name; an installed
    one need not be given.

    Hashable and picklable. Raises UserError on construction for a kind that the space lacks
    or that is missing, an unknown operation, an edge that does not come from an earlier
    node, an empty concatenation or one with an unknown or repeated node, and a cell without
    nodes or with more than MAX_NODES nodes or MAX_EDGES edges.
    """

    cells: Mapping[str, Cell]
    space: str = "darts"
    search_space: SearchSpace | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check everything and freeze `cells` in the order of the space's kinds."""
        space = self.graph
        object.__setattr__(self, "search_space", None if space.name in OURS else space)
        for kind in self.cells:
            if kind not in space.kinds:
                known = " and ".join(space.kinds)
                raise UserError(f"the space {space.name!r} has no {kind!r} cell: it has {known}")
        for kind in space.kinds:
            if kind not in self.cells:
                raise UserError(f"no {kind!r} cell, which the space {space.name!r} needs: add it")
            check_cell(self.cells[kind], space, kind)
        inputs = space.cell.inputs
        ordered = {kind: self.cells[kind].without_idle_zeros(inputs) for kind in space.kinds}
        object.__setattr__(self, "cells", MappingProxyType(ordered))

    def __hash__(self) -> int:
        """Equal genotypes have equal hashes."""
        return hash((tuple(self.cells.items()), self.space))

    def __reduce__(
        self,
    ) -> tuple[type[Genotype], tuple[dict[str, Cell], str, SearchSpace | None]]:
        """Pickle through the constructor: a mapping proxy cannot be pickled."""
        return Genotype, (dict(self.cells), self.space, self.search_space)

    @property
    def graph(self) -> SearchSpace:
        """The space that the cells are from."""
        if self.search_space is not None and self.search_space.name == self.space:
            return self.search_space
        return named_space(self.space)

    @property
    def inputs(self) -> int:
        """The number of inputs of a cell: 2 in the DARTS spaces, 1 in NAS-Bench-201."""
        return self.graph.cell.inputs

    def skips(self, kind: str = "normal") -> int:
        """The number of skip connections in the cell of this kind."""
        return sum(edge.op == "skip_connect" for node in self.cells[kind].nodes for edge in node)

    def check_buildable(self) -> None:
        """Raise UserError where a cell's output depends on no input of the cell."""
        for kind, cell in self.cells.items():
            if not cell.connected(self.inputs):
                raise UserError(
                    f"the output of the {kind} cell depends on no input, so no network can be "
                    f"built: give a node of its concatenation an edge that leads to an input"
                )

    def describe(self) -> str:
        """The cells as lines of text: a node and the operations that it sums, per line."""
        lines = []
        for kind, cell in self.cells.items():
            lines.append(f"{kind} cell")
            for target, edges in enumerate(cell.nodes, start=self.inputs):
                terms = " + ".join(f"{edge.op}({edge.source})" for edge in edges)
                lines.append(f"  {target} = {terms or '(no input)'}")
            lines.append(f"  output = {', '.join(map(str, cell.concat))}")
        return "\n".join(lines)

    def _repr_svg_(self) -> str:
        from dots.space.drawing.svg import genotype_svg

        return genotype_svg(self)

    def _repr_html_(self) -> str:
        """For notebooks, which prefer it: an inlined drawing takes the notebook's colours."""
        return f"<div>{self._repr_svg_()}</div>"

    def to_json(self) -> dict[str, Any]:
        """The genotype as JSON values, in the format of version 1."""
        value: dict[str, Any] = {"version": VERSION, "space": self.space}
        for kind, cell in self.cells.items():
            value[kind] = [
                [{"op": edge.op, "from": edge.source} for edge in edges] for edges in cell.nodes
            ]
            value[f"{kind}_concat"] = list(cell.concat)
        return value

    def to_text(self) -> str:
        """The genotype as JSON text for people: a node per line."""
        lines = []
        for key, value in self.to_json().items():
            if key in self.cells:
                nodes = ",\n".join(f"    {json.dumps(node)}" for node in value)
                lines.append(f'  "{key}": [\n{nodes}\n  ]')
            else:
                lines.append(f'  "{key}": {json.dumps(value)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(
        cls, value: Any, where: str = "genotype", space: SearchSpace | None = None
    ) -> Genotype:
        """The genotype in a JSON value; `where` names it in errors.

        `space` is the one that it names, where that is neither ours nor installed.

        Besides what `to_json` writes, an edge may be a pair `["op", from]`, a cell may be a
        flat list of such pairs, two per node in order, and `version` and `space` may be
        absent. An edge with the operation "none" adds nothing to its node; where a node has
        no other, the node is there and is zero.

        Raises UserError for anything else, see the class.
        """
        try:
            return _parse(value, space)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    @classmethod
    def load(cls, path: str | Path, space: SearchSpace | None = None) -> Genotype:
        """Read a genotype file, also of another program (`dots.space.formats`).

        `space` as in `from_json`. Raises UserError where it is missing, unreadable or wrong.
        """
        from dots.space import formats  # which make genotypes

        path = Path(path)
        return formats.read(read_text(path, what="a genotype"), repr(str(path)), space)

    def save(self, path: str | Path) -> None:
        """Write a genotype file, atomically. Raises UserError where that is impossible."""
        try:
            write_text(Path(path), self.to_text())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot write the genotype to {str(path)!r}: {error}") from None


def _parse(value: Any, given: SearchSpace | None) -> Genotype:
    if not isinstance(value, dict):
        raise UserError(f"a genotype is a JSON object, not {shown(value)}")
    version = value.get("version", VERSION)
    if type(version) is not int or version != VERSION:
        raise UserError(f"version {shown(version)} of the format is unknown: write {VERSION}")
    name = value.get("space", "darts")
    if not isinstance(name, str):
        raise UserError(f"'space' is the name of a search space, not {shown(name)}")
    space = given if given is not None and given.name == name else named_space(name)
    known = {"version", "space"}.union(*({kind, f"{kind}_concat"} for kind in space.kinds))
    for key in value:
        if key not in known:
            raise UserError(
                f"unknown field {shown(key)} in the space {name!r}: {did_you_mean(key, known)}"
            )
    cells = {kind: parse_cell(value, kind, space.cell.inputs) for kind in space.kinds}
    return Genotype(cells, name, space)
