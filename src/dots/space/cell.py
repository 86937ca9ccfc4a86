"""A cell as a value: the edges into each node and the nodes of the output, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dots.common.errors import UserError, did_you_mean, shown
from dots.common.plugins import installed
from dots.space.search_space import GENOTYPE_OPERATIONS, ZERO, CellSpec, SearchSpace

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
    left out of a concatenation and is zero in a sum. A node whose edges are all Zero ("none")
    is there and is zero, also in a concatenation. `concat` may contain inputs; its order is
    the order of the channels.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...]

    @property
    def edges(self) -> int:
        """The number of edges."""
        return sum(len(edges) for edges in self.nodes)

    def live(self, inputs: int) -> frozenset[int]:
        """The nodes (inputs included) that a built cell has.

        A node is live where an edge, be it Zero, comes from a live node; inputs are. What is
        fed by dead nodes alone is as good as a node without input.
        """
        return self._reached(inputs, ())

    def _reached(self, inputs: int, without: tuple[str, ...]) -> frozenset[int]:
        reached = set(range(inputs))
        for target, edges in enumerate(self.nodes, start=inputs):
            if any(edge.source in reached and edge.op not in without for edge in edges):
                reached.add(target)
        return frozenset(reached)

    def connected(self, inputs: int) -> bool:
        """Whether the output depends on an input."""
        return not self._reached(inputs, (ZERO,)).isdisjoint(self.concat)

    def without_idle_zeros(self, inputs: int) -> Cell:
        """The same cell without the Zero edges into nodes that another edge keeps alive."""
        live = self.live(inputs)
        real = (tuple(edge for edge in edges if edge.op != ZERO) for edges in self.nodes)
        nodes = tuple(
            kept if any(edge.source in live for edge in kept) else edges
            for kept, edges in zip(real, self.nodes, strict=True)
        )
        return Cell(nodes, self.concat)

    def output(self, inputs: int) -> tuple[int, ...]:
        """The nodes of `concat` that are live, in order: what a built cell concatenates."""
        live = self.live(inputs)
        return tuple(node for node in self.concat if node in live)


def check_cell(cell: Cell, space: SearchSpace, kind: str) -> None:
    """Raise UserError where `cell` is no cell of `space`; `kind` names it in errors.

    The number of inputs, the rule for the output and the operations that are none of ours are
    taken from it: a cell may have any number of nodes up to MAX_NODES, and any MAX_EDGES edges
    that lead forwards.
    """
    spec = space.cell
    if not 1 <= len(cell.nodes) <= MAX_NODES:
        raise UserError(
            f"the {kind} cell has {len(cell.nodes)} nodes: give it between 1 and {MAX_NODES}"
        )
    if cell.edges > MAX_EDGES:
        raise UserError(f"the {kind} cell has {cell.edges} edges: give it at most {MAX_EDGES}")
    for target, edges in enumerate(cell.nodes, start=spec.inputs):
        for edge in edges:
            _check_edge(edge, target, space, f"{kind} cell, node {target}")
    _check_concat(cell, spec, kind)


def _check_edge(edge: Edge, target: int, space: SearchSpace, where: str) -> None:
    if edge.op not in GENOTYPE_OPERATIONS | {ZERO} and edge.op not in space.own:
        others = installed("operation")
        if edge.op not in others:
            hint = did_you_mean(edge.op, {*GENOTYPE_OPERATIONS, *space.own, *others})
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


def parse_cell(value: Mapping[str, Any], kind: str, inputs: int) -> Cell:
    """The cell under the keys `kind` and `<kind>_concat` of a JSON object.

    Raises UserError where they are absent, too long, or not lists of edges and of nodes.
    Whether operations and nodes exist is for `check_cell` to say.
    """
    for field in (kind, f"{kind}_concat"):
        if not isinstance(value.get(field), list):
            found = shown(value[field]) if field in value else "absent"
            raise UserError(f"{field!r} must be a list, and is {found}")
    nodes, concat = value[kind], value[f"{kind}_concat"]
    if nodes and _is_pair(nodes[0]):
        nodes = _unflatten(nodes, kind)
    if len(nodes) > MAX_NODES or len(concat) > inputs + MAX_NODES:
        raise UserError(f"{kind!r} is too long: a cell has at most {MAX_NODES} nodes")
    if sum(len(edges) for edges in nodes if isinstance(edges, list)) > MAX_EDGES:
        raise UserError(f"the {kind} cell has too many edges: give it at most {MAX_EDGES}")
    parsed = (
        _parse_node(edges, target, f"{kind} cell, node {target}")
        for target, edges in enumerate(nodes, start=inputs)
    )
    return Cell(tuple(parsed), tuple(concat))


def _parse_node(edges: Any, target: int, where: str) -> tuple[Edge, ...]:
    if not isinstance(edges, list):
        raise UserError(f"{where}: expected a list of edges, found {shown(edges)}")
    return tuple(_parse_edge(edge, target, where) for edge in edges)


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
