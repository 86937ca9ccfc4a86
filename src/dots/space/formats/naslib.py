"""Architectures of NASLib, as its conversions.py writes them.

For DARTS the configuration of NAS-Bench-301, {"NetworkSelectorDatasetInfo:darts:edge_normal_0":
"sep_conv_3x3", ..., "...:inputs_node_normal_3": "0_1"}; for NAS-Bench-201 six numbers. Its
Genotype and its strings are read as such. Its compact tuples are not: they are written with
operations counted from 0 and read with operations counted from 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dots.common.errors import UserError, shown
from dots.space.cell import Edge
from dots.space.formats.darts import two_edges
from dots.space.formats.nasbench201 import from_edges, on_edges
from dots.space.genotype import Cell, Genotype
from dots.space.search_space import DARTS_OPERATIONS, darts_space

_PREFIX = "NetworkSelectorDatasetInfo:darts:"
_EDGE = re.compile(r"(?:.*:)?edge_(normal|reduce)_(\d{1,2})")
_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
_CELL = darts_space().cell


def recognises(value: Any) -> bool:
    """Whether a value is such a configuration, or such numbers."""
    if isinstance(value, list):
        return len(value) == len(_EDGES) and all(type(each) is int for each in value)
    return isinstance(value, dict) and any(_EDGE.fullmatch(str(key)) for key in value)


def read(value: Mapping[str, Any] | list[int]) -> Genotype:
    """The genotype. Raises UserError for an edge or a number that does not exist."""
    if isinstance(value, list):
        for number in value:
            if not 0 <= number < len(_OPERATIONS):
                raise UserError(f"NASLib numbers operations from 0 to 4: {shown(number)} is none")
        return from_edges(
            {edge: _OPERATIONS[number] for edge, number in zip(_EDGES, value, strict=True)}
        )
    nodes: dict[str, list[list[Edge]]] = {
        kind: [[] for _ in range(_CELL.nodes)] for kind in ("normal", "reduce")
    }
    for key, op in value.items():
        if match := _EDGE.fullmatch(key):
            kind, index = match[1], int(match[2])
            if index >= len(_CELL.edges):
                raise UserError(f"{shown(key)}: the edges are numbered 0 to {len(_CELL.edges) - 1}")
            source, target = _CELL.edges[index]
            nodes[kind][target - _CELL.inputs].append(Edge(op, source))
    return Genotype(
        {kind: Cell(tuple(map(tuple, edges)), _CELL.concat) for kind, edges in nodes.items()}
    )


def write(genotype: Genotype) -> str:
    """The JSON text of the configuration, or of the six numbers of NAS-Bench-201.

    Raises UserError where NASLib has no such cell.
    """
    if genotype.space == "nasbench201":
        found = on_edges(genotype)
        return json.dumps([_OPERATIONS.index(found[edge]) for edge in _EDGES]) + "\n"
    value = {}
    for kind, cell in genotype.cells.items():
        nodes = two_edges(genotype, kind, cell, "naslib")
        sources = [sorted({edge.source for edge in edges}) for edges in nodes]
        if cell.concat != _CELL.concat or any(len(each) != 2 for each in sources):
            raise UserError(
                f"in NASLib a cell has four nodes, each fed by two others, and all are its "
                f"output: the {kind} cell is none such"
            )
        for target, edges in enumerate(nodes, start=_CELL.inputs):
            for edge in sorted(edges, key=lambda edge: edge.source):
                if edge.op not in DARTS_OPERATIONS:
                    raise UserError(
                        f"NASLib's DARTS space has no {edge.op!r}, which the {kind} cell has: "
                        "use 'darts' or 'dots'"
                    )
                index = _CELL.edges.index((edge.source, target))
                value[f"{_PREFIX}edge_{kind}_{index}"] = edge.op
        for target, pair in enumerate(sources[1:], start=_CELL.inputs + 1):
            value[f"{_PREFIX}inputs_node_{kind}_{target}"] = "_".join(map(str, pair))
    return json.dumps(value, indent=2) + "\n"
