"""Cells for Graphviz: every node and edge of the genotype, by name."""

from __future__ import annotations

import re

from dots import zoo
from dots.space.drawing.dot import genotype_dot


def test_every_edge_is_there_with_its_operation() -> None:
    genotype = zoo.load("DOTS_C10").genotype
    text = genotype_dot(genotype)
    found = re.findall(r'"(\w+) (\d+)" -> "\1 (\d+)" \[label="(\w+)"', text)
    expected = [
        (kind, str(edge.source), str(target), edge.op)
        for kind, cell in genotype.cells.items()
        for target, edges in enumerate(cell.nodes, start=2)
        for edge in edges
    ]
    assert found == expected
    for kind, cell in genotype.cells.items():
        assert text.count(f'-> "{kind} output"') == len(cell.concat)
    assert text.count("{") == text.count("}") == 3
