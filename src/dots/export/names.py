"""What the parts and layers of a derived network are called, and what they are in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dots.export.layers import Layer
from dots.space.genotype import Cell, Genotype


@dataclass(frozen=True)
class CellNames:
    """What a network's cells are, by part ("cells.3").

    `inputs` is the number of a cell's inputs, `parts` describes a cell in lines, `nodes` are
    the numbers of its nodes that add two terms or more, in order.
    """

    inputs: int
    parts: Mapping[str, str]
    nodes: Mapping[str, tuple[int, ...]]

    def renamed(self, layers: Sequence[Layer]) -> list[Layer]:
        """Layers called after the cells' inputs, nodes and edges: "cells.0.node2.edge1.conv"."""
        new = {layer.name: self._name(layer.name) for layer in layers}
        for part, numbers in self.nodes.items():
            sums = [layer for layer in layers if layer.part == part and layer.kind == "add"]
            if len(sums) == len(numbers):
                new |= {s.name: f"{part}.node{n}" for s, n in zip(sums, numbers, strict=True)}
        new |= _shared(layers, new)
        return [
            replace(
                layer,
                name=new[layer.name],
                inputs=tuple(new.get(name, name) for name in layer.inputs),
            )
            for layer in layers
        ]

    def _name(self, path: str) -> str:
        path = path.removeprefix("body.")
        path = re.sub(r"\.preprocess\.steps\.(\d+)", r".input\1", path)
        return re.sub(
            r"\.nodes\.(\d+)\.(\d+)",
            lambda found: f".node{int(found[1]) + self.inputs}.edge{int(found[2]) + 1}",
            path,
        )


def _shared(layers: Sequence[Layer], names: Mapping[str, str]) -> dict[str, str]:
    """Names for activations that several edges take: after the value that goes in."""
    new: dict[str, str] = {}
    for layer in layers:
        takers = sum(layer.name in other.inputs for other in layers)
        alone = takers < 2 and "_of_" not in layer.name
        if layer.kind != "relu" or alone or not layer.part.startswith("cells."):
            continue
        source = names.get(layer.inputs[0], layer.inputs[0])
        within = source.startswith(f"{layer.part}.")
        block = source.removeprefix(f"{layer.part}.").split(".")[0] if within else "before"
        name = f"{layer.part}.relu_{block}"
        if name not in names.values() and name not in new.values():
            new[layer.name] = name
    return new


def cell_names(genotype: Genotype, kinds: Sequence[str]) -> CellNames:
    """The names for a network of cells of these kinds."""
    parts: dict[str, str] = {}
    nodes: dict[str, tuple[int, ...]] = {}
    for index, kind in enumerate(kinds):
        cell = genotype.cells[kind]
        parts[f"cells.{index}"] = described(cell, kind, genotype.inputs)
        nodes[f"cells.{index}"] = sums(cell, genotype.inputs)
    return CellNames(genotype.inputs, parts, nodes)


def part_of(path: str) -> str:
    """The block of a network that a module path lies in: "stem", "cells.3", "head"."""
    words = path.removeprefix("body.").split(".")
    if len(words) > 2 and words[0] in ("cells", "transitions"):
        return ".".join(words[:2])
    return words[0] if words[0] == "stem" else "head"


def sums(cell: Cell, inputs: int) -> tuple[int, ...]:
    """The nodes that add two live edges or more."""
    live = cell.live(inputs)
    return tuple(
        node
        for node, edges in enumerate(cell.nodes, start=inputs)
        if sum(edge.source in live for edge in edges) > 1
    )


def described(cell: Cell, kind: str, inputs: int) -> str:
    """A cell in lines: its kind, what each live node is, and its output."""
    live = cell.live(inputs)
    lines = [f"{kind} cell"]
    for node, edges in enumerate(cell.nodes, start=inputs):
        terms = [f"{edge.op}({edge.source})" for edge in edges if edge.source in live]
        if terms:
            lines.append(f"node {node} = {' + '.join(terms)}")
    return "\n".join([*lines, f"output = {', '.join(map(str, cell.output(inputs)))}"])
