"""NAS-Bench-201's notation: `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`.

The nodes 1, 2, 3 in order, for each the operation on the edge from every node before it. An
edge with "none" is an absent edge here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dots.common.errors import UserError, did_you_mean, shown
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import NASBENCH201_OPERATIONS, ZERO, nasbench201_space

SPACE = "nasbench201"
_CELL = nasbench201_space().cell
_NODES = _CELL.nodes


def from_string(text: str) -> Genotype:
    """The genotype of a cell in the benchmark's notation.

    Raises UserError where `text` is not in that notation.
    """
    nodes = text.strip().split("+") if len(text) < 1000 else []
    if len(nodes) != _NODES:
        raise UserError(
            f"{shown(text)} is no NAS-Bench-201 cell: it must have {_NODES} nodes, '|op~0|+|...|'"
        )
    parsed = (_parse_node(node, target, text) for target, node in enumerate(nodes, start=1))
    return _genotype(parsed)


def _parse_node(node: str, target: int, text: str) -> tuple[Edge, ...]:
    parts = [part.rpartition("~") for part in node.strip("|").split("|")]
    expected = [str(source) for source in range(target)]
    if [source for _, _, source in parts] != expected or node != f"|{node.strip('|')}|":
        edges = "".join(f"|op~{source}" for source in expected)
        raise UserError(f"{shown(text)} is no NAS-Bench-201 cell: node {target} must be '{edges}|'")
    for operation, _, _ in parts:
        if operation not in NASBENCH201_OPERATIONS:
            hint = did_you_mean(operation, NASBENCH201_OPERATIONS)
            raise UserError(f"NAS-Bench-201 has no operation {shown(operation)}: {hint}")
    edges_in = (Edge(operation, int(source)) for operation, _, source in parts)
    return tuple(edge for edge in edges_in if edge.op != ZERO)


def _genotype(nodes: Iterable[tuple[Edge, ...]]) -> Genotype:
    return Genotype({"normal": Cell(tuple(nodes), (_NODES,))}, SPACE)


def to_string(genotype: Genotype) -> str:
    """The cell in the benchmark's notation; absent edges are written as "none".

    Raises UserError where the genotype is no cell of the benchmark: another space, another
    number of nodes, another operation, or two edges between the same nodes.
    """
    if genotype.space != SPACE:
        raise UserError(f"a genotype of the space {genotype.space!r} is no NAS-Bench-201 cell")
    nodes = genotype.cells["normal"].nodes
    if len(nodes) != _NODES:
        raise UserError(f"a NAS-Bench-201 cell has {_NODES} nodes: this one has {len(nodes)}")
    return "+".join(_node_string(edges, target) for target, edges in enumerate(nodes, start=1))


def _node_string(edges: tuple[Edge, ...], target: int) -> str:
    operations = [ZERO] * target
    for edge in edges:
        if edge.op not in NASBENCH201_OPERATIONS:
            raise UserError(
                f"NAS-Bench-201 has no operation {edge.op!r}: "
                f"it has {', '.join(NASBENCH201_OPERATIONS)}"
            )
        if operations[edge.source] != ZERO:
            raise UserError(
                f"a NAS-Bench-201 cell has one edge from node {edge.source} to node {target}: "
                "this one has more"
            )
        operations[edge.source] = edge.op
    return "".join(f"|{op}~{source}" for source, op in enumerate(operations)) + "|"


def from_edges(operations: Mapping[tuple[int, int], Any]) -> Genotype:
    """The cell with these operations on the edges (i, j). Raises UserError for another graph."""
    if sorted(operations) != sorted(_CELL.edges):
        raise UserError(
            f"a NAS-Bench-201 cell has an operation on each of {len(_CELL.edges)} edges"
        )
    parts = (
        "".join(f"|{operations[source, target]}~{source}" for source in range(target))
        for target in range(1, _NODES + 1)
    )
    return from_string("+".join(f"{part}|" for part in parts))


def on_edges(genotype: Genotype) -> dict[tuple[int, int], str]:
    """The operation on every edge (i, j), "none" where there is none; raises as to_string."""
    nodes = enumerate(to_string(genotype).split("+"), start=1)
    return {
        (source, target): part.partition("~")[0]
        for target, node in nodes
        for source, part in enumerate(node.strip("|").split("|"))
    }
