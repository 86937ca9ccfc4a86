"""Architectures of NNI: {"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": [0], ...}.

As the model spaces of NNI 3.0 (nni.nas.hub.pytorch) export and freeze them: DARTS' cells, and
NAS-Bench-201's as {"cell/0_1": "conv_3x3", ...}. Earlier versions wrote an input without its
list, and "cell__0_1".
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from dots.common.errors import UserError, shown
from dots.space.cell import Edge
from dots.space.formats.darts import two_edges
from dots.space.formats.nasbench201 import from_edges, on_edges
from dots.space.genotype import Cell, Genotype
from dots.space.search_space import DARTS_OPERATIONS, ZERO

_SLOT = re.compile(r"(normal|reduce)/(op|input)_(\d{1,3})_(\d{1,3})")
_EDGE = re.compile(r"cell(?:/|__)(\d)_(\d)")
_OPERATIONS = {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}
"""What NNI calls the convolutions of NAS-Bench-201 otherwise."""


def recognises(value: Any) -> bool:
    """Whether a value is such an architecture."""
    return isinstance(value, dict) and any(
        isinstance(key, str) and (_SLOT.fullmatch(key) or _EDGE.fullmatch(key)) for key in value
    )


def read(value: Mapping[str, Any]) -> Genotype:
    """The genotype; what else the architecture says (width, depth) is left out.

    Raises UserError where an edge lacks its operation or its input, or is not of the space.
    """
    if any(_EDGE.fullmatch(key) for key in value):
        found = ((_EDGE.fullmatch(key), op) for key, op in value.items())
        edges = {(int(m[1]), int(m[2])): _OPERATIONS.get(op, op) for m, op in found if m}
        return from_edges(edges)
    slots: dict[str, dict[tuple[int, int], dict[str, Any]]] = defaultdict(dict)
    for key, each in value.items():
        if match := _SLOT.fullmatch(key):
            kind, what, node, slot = match.groups()
            slots[kind].setdefault((int(node), int(slot)), {})[what] = each
    return Genotype({kind: _cell(kind, found) for kind, found in slots.items()})


def _cell(kind: str, slots: Mapping[tuple[int, int], Mapping[str, Any]]) -> Cell:
    last = max(node for node, _ in slots)
    nodes: list[list[Edge]] = [[] for _ in range(2, last + 1)]
    for (node, slot), found in sorted(slots.items()):
        for what in ("op", "input"):
            if what not in found:
                raise UserError(f"no '{kind}/{what}_{node}_{slot}', which is the edge's other half")
        source = found["input"]
        if isinstance(source, list) and len(source) == 1:
            (source,) = source
        if type(source) is not int or not isinstance(found["op"], str) or node < 2:
            raise UserError(f"'{kind}/input_{node}_{slot}' is {shown(source)}, not one node before")
        nodes[node - 2].append(Edge(found["op"], source))
    return Cell(tuple(map(tuple, nodes)), tuple(range(2, last + 1)))


def write(genotype: Genotype) -> str:
    """The JSON text of the architecture. Raises UserError where NNI has no such cell."""
    if genotype.space == "nasbench201":
        ours = {op: theirs for theirs, op in _OPERATIONS.items()}
        edges = on_edges(genotype).items()
        return _text({f"cell/{i}_{j}": ours.get(op, op) for (i, j), op in edges})
    value: dict[str, Any] = {}
    for kind, cell in genotype.cells.items():
        nodes = two_edges(genotype, kind, cell, "nni")
        if cell.concat != tuple(range(2, 2 + len(nodes))):
            raise UserError(f"in NNI every node is part of the output: the {kind} cell leaves some")
        for target, edges_in in enumerate(nodes, start=2):
            for slot, edge in enumerate(edges_in):
                if len(edges_in) < 2 or edge.op not in DARTS_OPERATIONS or edge.op == ZERO:
                    raise UserError(
                        f"NNI's DARTS space has two operations for each node, and not those of "
                        f"node {target} of the {kind} cell: use 'darts' or 'dots'"
                    )
                value[f"{kind}/op_{target}_{slot}"] = edge.op
                value[f"{kind}/input_{target}_{slot}"] = [edge.source]
    return _text(value)


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
