"""A found cell as a value: edges, cells, genotypes, and their JSON.

A genotype is what a search returns and what everything downstream takes. Reading one never
executes anything: it is checked JSON, and whatever is wrong with it is said in one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dots.errors import UserError, did_you_mean, shown
from dots.files import read_json, write_text
from dots.space import GENOTYPE_OPERATIONS, ZERO, CellSpec, named_space

VERSION = 1
MAX_NODES = 64
MAX_EDGES = 4096
"""Bounds per cell, far above any published one: a file cannot ask for unbounded work."""


@dataclass(frozen=True)
class Edge:
    """The operation `op` applied to the output of node `source`."""

    op: str
    source: int


@dataclass(frozen=True)
class Cell:
    """The edges that enter each intermediate node, and the nodes that make up the output.

    Nodes are numbered as in `space.CellSpec`: the cell's inputs first, then the intermediate
    nodes. `nodes[i]` lists the edges into node `inputs + i`; a node sums them. Two edges may
    share the source and even the operation. An empty list is a node without input: it is
    left out of a concatenation and is zero in a sum. `concat` may contain inputs; its order
    is the order of the channels.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...]

    @property
    def edges(self) -> int:
        """The number of edges."""
        return sum(len(edges) for edges in self.nodes)

    def live(self, inputs: int) -> frozenset[int]:
        """The nodes (inputs included) whose value depends on an input of the cell.

        A node is live where an edge comes from a live node; inputs are. What is fed by dead
        nodes alone is as good as a node without input.
        """
        live = set(range(inputs))
        for target, edges in enumerate(self.nodes, start=inputs):
            if any(edge.source in live for edge in edges):
                live.add(target)
        return frozenset(live)

    def output(self, inputs: int) -> tuple[int, ...]:
        """The nodes of `concat` that are live, in order: what a built cell concatenates."""
        live = self.live(inputs)
        return tuple(node for node in self.concat if node in live)


@dataclass(frozen=True)
class Genotype:
    """A cell for each kind ("normal" and, where the space has it, "reduce") of `space`.

    Hashable and picklable. Raises UserError on construction for a kind that the space lacks
    or that is missing, an unknown operation, an edge that does not come from an earlier
    node, an empty concatenation or one with an unknown or repeated node, and a cell without
    nodes or with more than MAX_NODES nodes or MAX_EDGES edges.
    """

    cells: Mapping[str, Cell]
    space: str = "darts"

    def __post_init__(self) -> None:
        """Check everything and freeze `cells` in the order of the space's kinds."""
        space = named_space(self.space)
        for kind in self.cells:
            if kind not in space.kinds:
                known = " and ".join(space.kinds)
                raise UserError(f"the space {space.name!r} has no {kind!r} cell: it has {known}")
        for kind in space.kinds:
            if kind not in self.cells:
                raise UserError(f"no {kind!r} cell, which the space {space.name!r} needs: add it")
            _check_cell(self.cells[kind], space.cell, kind)
        ordered = {kind: self.cells[kind] for kind in space.kinds}
        object.__setattr__(self, "cells", MappingProxyType(ordered))

    def __hash__(self) -> int:
        """Equal genotypes have equal hashes."""
        return hash((tuple(self.cells.items()), self.space))

    def __reduce__(self) -> tuple[type[Genotype], tuple[dict[str, Cell], str]]:
        """Pickle through the constructor: a mapping proxy cannot be pickled."""
        return Genotype, (dict(self.cells), self.space)

    @property
    def inputs(self) -> int:
        """The number of inputs of a cell: 2 in the DARTS spaces, 1 in NAS-Bench-201."""
        return named_space(self.space).cell.inputs

    def skips(self, kind: str = "normal") -> int:
        """The number of skip connections in the cell of this kind."""
        return sum(edge.op == "skip_connect" for node in self.cells[kind].nodes for edge in node)

    def check_buildable(self) -> None:
        """Raise UserError where a cell's output depends on no input of the cell."""
        for kind, cell in self.cells.items():
            if not cell.output(self.inputs):
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
    def from_json(cls, value: Any, where: str = "genotype") -> Genotype:
        """The genotype in a JSON value; `where` names it in errors.

        Besides what `to_json` writes, an edge may be a pair `["op", from]`, a cell may be a
        flat list of such pairs, two per node in order, and `version` and `space` may be
        absent. An edge with the operation "none" is read as an absent edge, which it is.

        Raises UserError for anything else, see the class.
        """
        try:
            return _parse(value)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    @classmethod
    def load(cls, path: str | Path) -> Genotype:
        """Read a genotype file. Raises UserError where it is missing, unreadable or wrong."""
        path = Path(path)
        return cls.from_json(read_json(path, what="a genotype"), where=repr(str(path)))

    def save(self, path: str | Path) -> None:
        """Write a genotype file, atomically. Raises UserError where that is impossible."""
        try:
            write_text(Path(path), self.to_text())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot write the genotype to {str(path)!r}: {error}") from None


def _check_cell(cell: Cell, spec: CellSpec, kind: str) -> None:
    if not 1 <= len(cell.nodes) <= MAX_NODES:
        raise UserError(
            f"the {kind} cell has {len(cell.nodes)} nodes: give it between 1 and {MAX_NODES}"
        )
    if cell.edges > MAX_EDGES:
        raise UserError(f"the {kind} cell has {cell.edges} edges: give it {MAX_EDGES} at most")
    for target, edges in enumerate(cell.nodes, start=spec.inputs):
        for edge in edges:
            _check_edge(edge, target, f"{kind} cell, node {target}")
    _check_concat(cell, spec, kind)


def _check_edge(edge: Edge, target: int, where: str) -> None:
    if edge.op == ZERO:
        raise UserError(f"{where}: the operation 'none' is an absent edge: leave it out")
    if edge.op not in GENOTYPE_OPERATIONS:
        hint = did_you_mean(edge.op, GENOTYPE_OPERATIONS)
        raise UserError(f"{where}: unknown operation {shown(edge.op)}: {hint}")
    _check_source(edge.source, target, where)


def _check_source(source: int, target: int, where: str) -> None:
    if type(source) is not int:
        raise UserError(f"{where}: an edge comes from a node number, not {shown(source)}")
    if not 0 <= source < target:
        fault = "does not exist" if source < 0 else "is not before it"
        raise UserError(
            f"{where}: an edge from node {shown(source)}, which {fault}: use 0 to {target - 1}"
        )


def _check_concat(cell: Cell, spec: CellSpec, kind: str) -> None:
    last = spec.inputs + len(cell.nodes) - 1
    if not cell.concat:
        raise UserError(f"{kind}_concat is empty: name at least one node, 0 to {last}")
    for position, node in enumerate(cell.concat):
        if type(node) is not int:
            raise UserError(f"{kind}_concat holds node numbers, not {shown(node)}")
        if not 0 <= node <= last:
            raise UserError(
                f"{kind}_concat names node {shown(node)}, which does not exist: use 0 to {last}"
            )
        if node in cell.concat[:position]:
            raise UserError(f"{kind}_concat names node {node} twice: name it once")
    if spec.output == "last" and cell.concat != (last,):
        raise UserError(
            f"{kind}_concat must be [{last}]: in this space the last node is the output"
        )


def _parse(value: Any) -> Genotype:
    if not isinstance(value, dict):
        raise UserError(f"a genotype is a JSON object, not {shown(value)}")
    version = value.get("version", VERSION)
    if type(version) is not int or version != VERSION:
        raise UserError(f"version {shown(version)} of the format is unknown: write {VERSION}")
    name = value.get("space", "darts")
    if not isinstance(name, str):
        raise UserError(f"'space' is the name of a search space, not {shown(name)}")
    space = named_space(name)
    known = {"version", "space"}.union(*({kind, f"{kind}_concat"} for kind in space.kinds))
    for key in value:
        if key not in known:
            raise UserError(
                f"unknown field {shown(key)} in the space {name!r}: {did_you_mean(key, known)}"
            )
    cells = {kind: _parse_cell(value, kind, space.cell.inputs) for kind in space.kinds}
    return Genotype(cells, name)


def _parse_cell(value: Mapping[str, Any], kind: str, inputs: int) -> Cell:
    for field in (kind, f"{kind}_concat"):
        if not isinstance(value.get(field), list):
            found = shown(value[field]) if field in value else "absent"
            raise UserError(f"{field!r} must be a list, and is {found}")
    nodes, concat = value[kind], value[f"{kind}_concat"]
    if nodes and _is_pair(nodes[0]):
        nodes = _unflatten(nodes, kind)
    limit = inputs + MAX_NODES
    if len(nodes) > MAX_NODES or len(concat) > limit:
        raise UserError(f"{kind!r} is too long: a cell has {MAX_NODES} nodes at most")
    parsed = []
    left = MAX_EDGES
    for target, edges in enumerate(nodes, start=inputs):
        where = f"{kind} cell, node {target}"
        if not isinstance(edges, list):
            raise UserError(f"{where}: expected a list of edges, found {shown(edges)}")
        left -= len(edges)
        if left < 0:
            raise UserError(f"the {kind} cell has too many edges: give it {MAX_EDGES} at most")
        read = (_parse_edge(edge, target, where) for edge in edges)
        parsed.append(tuple(edge for edge in read if edge.op != ZERO))
    return Cell(tuple(parsed), tuple(concat))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _unflatten(pairs: list[Any], kind: str) -> list[Any]:
    """Two pairs per node, in order: the format of the DARTS release."""
    if len(pairs) % 2:
        raise UserError(
            f"{kind!r} is a flat list of {len(pairs)} pairs: it needs two per node, an even number"
        )
    return [pairs[start : start + 2] for start in range(0, len(pairs), 2)]


def _parse_edge(value: Any, target: int, where: str) -> Edge:
    if _is_pair(value):
        op, source = value
    elif isinstance(value, dict) and value.keys() == {"op", "from"}:
        op, source = value["op"], value["from"]
    else:
        raise UserError(f'{where}: an edge is {{"op": ..., "from": ...}}, not {shown(value)}')
    if not isinstance(op, str):
        raise UserError(f"{where}: an operation has a name, not {shown(op)}")
    _check_source(source, target, where)
    return Edge(op, source)
