"""Where the vertices of a drawn cell go: a layered layout, left to right, without overlaps.

Inputs stand in the first column, every node right of what feeds it, the output last. Each
operation is a box of its own in the column before its target, so that no label can lie on
another. The value of a node travels to all its users along one wire, which holds a slot in
every column that it passes: no line runs through a box.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from dots.space.cell import Cell, Edge

GAP_Y = 9.0
SWEEPS = 24
FONT_SIZE = 12.0
CHARACTER = 0.62 * FONT_SIZE
"""The width of a character: monospace fonts have at most 0.61 em."""

Role = Literal["node", "operation", "wire", "output"]
HEIGHTS: Mapping[Role, float] = {"node": 32.0, "operation": 24.0, "wire": 8.0, "output": 32.0}
NODE_WIDTH = 32.0
PORT_WIDTH = 46.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Vertex:
    """A node, an operation box, a slot of a wire, or the output.

    `node` is the node itself, the target of the operation or the source of the wire; `slot`
    is the column of a wire's slot, or which of its target's edges an operation is.
    """

    role: Role
    node: int
    slot: int = 0


@dataclass(frozen=True)
class Layout:
    """The vertices by column from left to right, the links between neighbouring columns (a vertex,
    a vertex of the next column), and the vertical centre of each vertex, 0 at the top.
    """

    columns: tuple[tuple[Vertex, ...], ...]
    links: tuple[tuple[Vertex, Vertex], ...]
    y: Mapping[Vertex, float]
    height: float


@dataclass
class _Graph:
    """The vertices in their columns, in no particular order, and the links between them."""

    columns: list[list[Vertex]]
    links: list[tuple[Vertex, Vertex]] = field(default_factory=list)


def layout(cell: Cell, inputs: int, heights: Mapping[Role, float]) -> Layout:
    """Place the vertices of `cell`; `heights` says how tall each kind of vertex is."""
    graph = _graph(cell, inputs)
    left, right = _neighbours(graph.links)
    columns = _order(graph, left, right)
    y = _centres(columns, left, right, heights)
    top = min(y[vertex] - heights[vertex.role] / 2 for vertex in y)
    y = {vertex: centre - top for vertex, centre in y.items()}
    bottom = max(y[vertex] + heights[vertex.role] / 2 for vertex in y)
    return Layout(tuple(map(tuple, columns)), tuple(graph.links), y, bottom)


def _depths(cell: Cell, inputs: int) -> list[int]:
    depths = [0] * inputs
    for edges in cell.nodes:
        depths.append(1 + max((depths[edge.source] for edge in edges), default=0))
    return depths


def _graph(cell: Cell, inputs: int) -> _Graph:
    """The vertices in their columns: nodes in even ones, operations in odd ones, then output."""
    depths = _depths(cell, inputs)
    last = 2 * max(depths) + 1
    output = Vertex("output", 0)
    graph = _Graph([[] for _ in range(last + 1)])
    users: dict[int, list[tuple[int, Vertex]]] = defaultdict(list)
    for node, depth in enumerate(depths):
        graph.columns[2 * depth].append(Vertex("node", node))
    for target, edges in enumerate(cell.nodes, start=inputs):
        column = 2 * depths[target] - 1
        for slot, edge in enumerate(edges):
            operation = Vertex("operation", target, slot)
            graph.columns[column].append(operation)
            graph.links.append((operation, Vertex("node", target)))
            users[edge.source].append((column, operation))
    graph.columns[last].append(output)
    for node in cell.output(inputs):
        users[node].append((last, output))
    for node in sorted(users):
        _lay_wire(graph, node, 2 * depths[node], users[node])
    return graph


def _lay_wire(graph: _Graph, node: int, start: int, users: Sequence[tuple[int, Vertex]]) -> None:
    slots = [Vertex("node", node)]
    for column in range(start + 1, max(column for column, _ in users)):
        slots.append(Vertex("wire", node, column))
        graph.columns[column].append(slots[-1])
    graph.links.extend(pairwise(slots))
    graph.links.extend((slots[column - 1 - start], user) for column, user in users)


Neighbours = Mapping[Vertex, Sequence[Vertex]]


def _neighbours(links: Sequence[tuple[Vertex, Vertex]]) -> tuple[Neighbours, Neighbours]:
    left: dict[Vertex, list[Vertex]] = defaultdict(list)
    right: dict[Vertex, list[Vertex]] = defaultdict(list)
    for a, b in links:
        left[b].append(a)
        right[a].append(b)
    return left, right


def _order(graph: _Graph, left: Neighbours, right: Neighbours) -> list[list[Vertex]]:
    """Order each column by its neighbours' mean position, sweeping; keep the fewest crossings."""
    columns = [list(column) for column in graph.columns]
    best, fewest = [list(column) for column in columns], _crossings(columns, right)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        indices = range(1, len(columns)) if forward else range(len(columns) - 2, -1, -1)
        for index in indices:
            beside = columns[index - 1 if forward else index + 1]
            place = {vertex: position for position, vertex in enumerate(beside)}
            _sort_by_mean(columns[index], left if forward else right, place)
        crossings = _crossings(columns, right)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    return best


def _sort_by_mean(column: list[Vertex], near: Neighbours, place: Mapping[Vertex, int]) -> None:
    means = {}
    for position, vertex in enumerate(column):
        places = [place[other] for other in near.get(vertex, ())]
        means[vertex] = sum(places) / len(places) if places else float(position)
    column.sort(key=lambda vertex: means[vertex])


def _crossings(columns: Sequence[Sequence[Vertex]], right: Neighbours) -> int:
    count = 0
    for column, beside in pairwise(columns):
        place = {vertex: position for position, vertex in enumerate(beside)}
        seen: list[int] = []
        for vertex in column:
            ends = sorted(place[other] for other in right.get(vertex, ()))
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _centres(
    columns: Sequence[Sequence[Vertex]],
    left: Neighbours,
    right: Neighbours,
    heights: Mapping[Role, float],
) -> dict[Vertex, float]:
    """Pull every vertex towards its neighbours, keeping the order and the distances."""
    y = {}
    for column in columns:
        offsets = _offsets(column, heights)
        y.update({vertex: at - offsets[-1] / 2 for vertex, at in zip(column, offsets, strict=True)})
    for index in _sweeps(len(columns)):
        column = columns[index]
        offsets = _offsets(column, heights)
        wanted, weights = [], []
        for vertex, offset in zip(column, offsets, strict=True):
            pulls = [(y[other], _stiffness(vertex, other)) for other in left.get(vertex, ())]
            pulls += [(y[other], _stiffness(vertex, other)) for other in right.get(vertex, ())]
            weight = sum(pull for _, pull in pulls)
            centre = sum(at * pull for at, pull in pulls) / weight if pulls else y[vertex]
            wanted.append(centre - offset)
            weights.append(weight or 0.1)
        shifts = _isotonic(wanted, weights)
        y.update({vertex: s + o for vertex, s, o in zip(column, shifts, offsets, strict=True)})
    return y


def _sweeps(columns: int) -> Iterator[int]:
    for _ in range(SWEEPS):
        yield from range(columns)
        yield from reversed(range(columns))


def _offsets(column: Sequence[Vertex], heights: Mapping[Role, float]) -> list[float]:
    """The centres of the vertices of a column when they are packed, the first at 0."""
    offsets = [0.0] if column else []  # without edges there are no operations
    for above, below in pairwise(column):
        offsets.append(offsets[-1] + (heights[above.role] + heights[below.role]) / 2 + GAP_Y)
    return offsets


def _stiffness(a: Vertex, b: Vertex) -> float:
    """Long wires should be straight before anything else is."""
    wires = (a.role == "wire") + (b.role == "wire")
    return (1.0, 3.0, 24.0)[wires]


def _isotonic(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The non-decreasing sequence nearest to `wanted` in the weighted least-squares sense.

    Pools adjacent violators: blocks of (mean, weight, length) that are out of order merge.
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(wanted, weights, strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, mass, length = blocks.pop()
            total = mass + block[1]
            block = ((mean * mass + block[0] * block[1]) / total, total, length + block[2])
        blocks.append(block)
    return [mean for mean, _, length in blocks for _ in range(length)]


class Placement:
    """A cell with a place for each of its vertices; x grows to the right, y down, both from 0."""

    def __init__(self, cell: Cell, inputs: int) -> None:
        self.cell = cell
        self.inputs = inputs
        placed = layout(cell, inputs, HEIGHTS)
        self.links = placed.links
        self.y = placed.y
        self.height = placed.height
        self.vertices = tuple(vertex for column in placed.columns for vertex in column)
        self._rows = placed.columns
        self.columns = self._columns()
        """The left and right end of the column that each vertex stands in."""
        self.spans = {vertex: self._span(vertex) for vertex in self.columns}
        """The left and right end of each vertex; a wire crosses its whole column."""
        self.width = max(right for _, right in self.spans.values())
        self._live = cell.live(inputs)

    def edge(self, vertex: Vertex) -> Edge:
        """The edge that an operation's box stands for."""
        return self.cell.nodes[vertex.node - self.inputs][vertex.slot]

    def operation(self, vertex: Vertex) -> str:
        """The name in an operation's box."""
        return self.edge(vertex).op

    def operation_of(self, a: Vertex, b: Vertex) -> str | None:
        """The operation at an end of a link, or None for a line between nodes and wires."""
        found = next((vertex for vertex in (a, b) if vertex.role == "operation"), None)
        return None if found is None else self.operation(found)

    def dead(self, vertex: Vertex) -> bool:
        """Whether it is a node that depends on no input."""
        return vertex.role == "node" and vertex.node not in self._live

    def fed(self, vertex: Vertex) -> bool:
        """Whether lines end at it: the output, and nodes with edges."""
        return vertex.role == "output" or (
            vertex.node >= self.inputs and bool(self.cell.nodes[vertex.node - self.inputs])
        )

    def path(self, a: Vertex, b: Vertex) -> tuple[Point, Point, Point, Point]:
        """A link: level from the first point to the second, a curve, level to the last.

        Level until out of the column: a wider box may stand above or below.
        """
        start, end = self.spans[a][1], self.spans[b][b.role == "wire"]
        y0, y1 = self.y[a], self.y[b]
        return (start, y0), (self.columns[a][1], y0), (self.columns[b][0], y1), (end, y1)

    def _columns(self) -> dict[Vertex, tuple[float, float]]:
        columns = {}
        x = 0.0
        for index, column in enumerate(self._rows):
            width = max((self._width(vertex) for vertex in column), default=0.0)
            columns.update(dict.fromkeys(column, (x, x + width)))
            x += width + self._gap(index)
        return columns

    def _span(self, vertex: Vertex) -> tuple[float, float]:
        left, right = self.columns[vertex]
        own = right - left if vertex.role == "wire" else self._width(vertex)
        return (left + right - own) / 2, (left + right + own) / 2

    def _gap(self, index: int) -> float:
        """Room for the lines after a column: more where they climb further."""
        column = set(self._rows[index])
        climbs = [abs(self.y[a] - self.y[b]) for a, b in self.links if a in column]
        return min(26 + 0.25 * max(climbs, default=0.0), 64)

    def _width(self, vertex: Vertex) -> float:
        if vertex.role == "operation":
            return len(self.operation(vertex)) * CHARACTER + 14
        if vertex.role == "wire":
            return 0.0
        return PORT_WIDTH if vertex.role == "output" or vertex.node < self.inputs else NODE_WIDTH
