"""Cells drawn as pixels, for programs that show no SVG; matplotlib paints."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dots.space.drawing.layout import FONT_SIZE, HEIGHTS, Placement, Vertex
from dots.space.drawing.svg import style
from dots.space.genotype import Genotype

DOTS_PER_INCH = 144
MARGIN = 14.0
HEADING = 22.0
INK = "#1f2328"


def genotype_pixels(genotype: Genotype) -> npt.NDArray[np.uint8]:
    """All cells of `genotype`, each under its name, on white: [H, W, 3], two pixels a point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    placed = {kind: Placement(cell, genotype.inputs) for kind, cell in genotype.cells.items()}
    width = max(at.width for at in placed.values()) + 2 * MARGIN
    height = sum(at.height + HEADING + MARGIN for at in placed.values()) + MARGIN
    figure = Figure(figsize=(width / 72, height / 72), dpi=DOTS_PER_INCH)
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    top = MARGIN
    for kind, at in placed.items():
        axes.text(MARGIN, top, f"{kind} cell", fontsize=FONT_SIZE, weight="bold", va="top")
        _paint(axes, at, top + HEADING)
        top += at.height + HEADING + MARGIN
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _paint(axes: Any, at: Placement, top: float) -> None:
    """Lines below, boxes and names above."""
    from matplotlib.patches import FancyBboxPatch, PathPatch
    from matplotlib.path import Path

    curve = [Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO]
    for a, b in at.links:
        start, (x0, y0), (x1, y1), end = at.path(a, b)
        middle = (x0 + x1) / 2
        points = [start, (x0, y0), (middle, y0), (middle, y1), (x1, y1), end]
        operation = at.operation_of(a, b)
        path = Path([(x + MARGIN, y + top) for x, y in points], curve)
        axes.add_patch(PathPatch(path, fill=False, edgecolor=_colour(operation), linewidth=1.2))
    for vertex in (vertex for vertex in at.vertices if vertex.role != "wire"):
        left, right = at.spans[vertex]
        centre, height = at.y[vertex] + top, HEIGHTS[vertex.role]
        colour = _colour(at.operation(vertex) if vertex.role == "operation" else None)
        axes.add_patch(
            FancyBboxPatch(
                (left + MARGIN, centre - height / 2),
                right - left,
                height,
                boxstyle="round,pad=0,rounding_size=5",
                facecolor="white",
                edgecolor=colour,
            )
        )
        axes.text(
            (left + right) / 2 + MARGIN,
            centre,
            _name(at, vertex),
            fontsize=0.72 * FONT_SIZE,
            family="monospace",
            ha="center",
            va="center",
        )


def _colour(operation: str | None) -> str:
    return INK if operation is None else style(operation)[0]


def _name(at: Placement, vertex: Vertex) -> str:
    if vertex.role == "operation":
        return at.operation(vertex)
    if vertex.role == "output":
        return "c(k)"
    if vertex.node < at.inputs:
        return f"c(k-{at.inputs - vertex.node})"
    return str(vertex.node - at.inputs)
