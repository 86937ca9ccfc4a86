"""Cells in the language of Graphviz: `dot -Tpdf` draws them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dots.space.cell import Cell
from dots.space.drawing.svg import style
from dots.space.genotype import Genotype


def genotype_dot(genotype: Genotype) -> str:
    """A DOT graph with all cells of `genotype`, each in a box with its name."""
    lines = ["digraph genotype {", "  rankdir=LR", '  node [shape=box, style="rounded"]']
    for kind, cell in genotype.cells.items():
        lines += [f"  subgraph {_quoted('cluster_' + kind)} {{", f"    label={_quoted(kind)}"]
        lines += [f"    {line}" for line in _cell(kind, cell, genotype.inputs)]
        lines += ["  }"]
    return "\n".join([*lines, "}"]) + "\n"


def _cell(kind: str, cell: Cell, inputs: int) -> Iterator[str]:
    for node in range(inputs + len(cell.nodes)):
        name = f"c_k-{inputs - node}" if node < inputs else str(node - inputs)
        yield f"{_name(kind, node)} [label={_quoted(name)}]"
    yield f"{_name(kind, 'output')} [label={_quoted('c_k')}]"
    for target, edges in enumerate(cell.nodes, start=inputs):
        for edge in edges:
            colour, dashes = style(edge.op)
            look = f'color="{colour}", fontcolor="{colour}"' + (", style=dashed" if dashes else "")
            ends = f"{_name(kind, edge.source)} -> {_name(kind, target)}"
            yield f"{ends} [label={_quoted(edge.op)}, {look}]"
    for node in cell.concat:
        yield f"{_name(kind, node)} -> {_name(kind, 'output')}"


def _name(kind: str, node: int | str) -> str:
    return _quoted(f"{kind} {node}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
