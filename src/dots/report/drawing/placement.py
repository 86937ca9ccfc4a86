"""Where everything in a drawn cell stands: boxes, nodes and lines, in pixels."""

from __future__ import annotations

from collections.abc import Mapping

from dots.report.drawing.layout import Part, Role, layout
from dots.space.cell import Cell, Edge

FONT_SIZE = 12.0
CHARACTER = 0.62 * FONT_SIZE
"""The width of a character: monospace fonts have at most 0.61 em."""
HEIGHTS: Mapping[Role, float] = {"node": 32.0, "operation": 24.0, "wire": 8.0, "output": 32.0}
NODE_WIDTH = 32.0
PORT_WIDTH = 46.0

Point = tuple[float, float]


class Placement:
    """A cell with a place for each of its parts; x grows to the right, y down, both from 0."""

    def __init__(self, cell: Cell, inputs: int) -> None:
        self.cell = cell
        self.inputs = inputs
        placed = layout(cell, inputs, HEIGHTS)
        self.links = placed.links
        self.y = placed.y
        self.height = placed.height
        self.parts = tuple(part for column in placed.columns for part in column)
        self._rows = placed.columns
        self.columns = self._columns()
        """The left and right end of the column that each part stands in."""
        self.spans = {part: self._span(part) for part in self.columns}
        """The left and right end of each part; a wire crosses its whole column."""
        self.width = max(right for _, right in self.spans.values())
        self._live = cell.live(inputs)

    def edge(self, part: Part) -> Edge:
        """The edge that an operation's box stands for."""
        return self.cell.nodes[part.node - self.inputs][part.slot]

    def operation(self, part: Part) -> str:
        """The name in an operation's box."""
        return self.edge(part).op

    def operation_of(self, a: Part, b: Part) -> str | None:
        """The operation at an end of a link, or None for a line between nodes and wires."""
        found = next((part for part in (a, b) if part.role == "operation"), None)
        return None if found is None else self.operation(found)

    def dead(self, part: Part) -> bool:
        """Whether it is a node that depends on no input."""
        return part.role == "node" and part.node not in self._live

    def fed(self, part: Part) -> bool:
        """Whether lines end at it: the output, and nodes with edges."""
        return part.role == "output" or (
            part.node >= self.inputs and bool(self.cell.nodes[part.node - self.inputs])
        )

    def path(self, a: Part, b: Part) -> tuple[Point, Point, Point, Point]:
        """A link: level from the first point to the second, a curve, level to the last.

        Level until out of the column: a wider box may stand above or below.
        """
        start, end = self.spans[a][1], self.spans[b][b.role == "wire"]
        y0, y1 = self.y[a], self.y[b]
        return (start, y0), (self.columns[a][1], y0), (self.columns[b][0], y1), (end, y1)

    def _columns(self) -> dict[Part, tuple[float, float]]:
        columns = {}
        x = 0.0
        for index, column in enumerate(self._rows):
            width = max((self._width(part) for part in column), default=0.0)
            columns.update(dict.fromkeys(column, (x, x + width)))
            x += width + self._gap(index)
        return columns

    def _span(self, part: Part) -> tuple[float, float]:
        left, right = self.columns[part]
        own = right - left if part.role == "wire" else self._width(part)
        return (left + right - own) / 2, (left + right + own) / 2

    def _gap(self, index: int) -> float:
        """Room for the lines after a column: more where they climb further."""
        column = set(self._rows[index])
        climbs = [abs(self.y[a] - self.y[b]) for a, b in self.links if a in column]
        return min(26 + 0.25 * max(climbs, default=0.0), 64)

    def _width(self, part: Part) -> float:
        if part.role == "operation":
            return len(self.operation(part)) * CHARACTER + 14
        if part.role == "wire":
            return 0.0
        return PORT_WIDTH if part.role == "output" or part.node < self.inputs else NODE_WIDTH
