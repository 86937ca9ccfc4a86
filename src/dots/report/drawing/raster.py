"""Cells as pictures of pixels, for viewers that show no SVG (TensorBoard)."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image, ImageColor, ImageDraw, ImageFont

from dots.report.drawing.layout import Part
from dots.report.drawing.placement import FONT_SIZE, HEIGHTS, Placement, Point
from dots.report.drawing.svg import MARGIN, style
from dots.space.cell import Cell

SCALE = 2
"""Pixels of the picture for a pixel of the drawing: text stays readable when enlarged."""
INK, GREY, PAPER = "#1f2328", "#8b949e", "#ffffff"
STEPS = 24


def cell_image(cell: Cell, inputs: int = 2) -> Image.Image:
    """The drawing of a cell on white, as `dots.report.drawing.svg.cell_svg` has it."""
    at = Placement(cell, inputs)
    size = (round(SCALE * (at.width + 2 * MARGIN)), round(SCALE * (at.height + 2 * MARGIN)))
    image = Image.new("RGB", size, PAPER)
    painter = _Painter(at, ImageDraw.Draw(image))
    for a, b in at.links:
        painter.link(a, b)
    for part in at.parts:
        painter.part(part)
    return image


class _Painter:
    def __init__(self, at: Placement, canvas: ImageDraw.ImageDraw) -> None:
        self.at = at
        self.canvas = canvas
        self.font = ImageFont.load_default(SCALE * FONT_SIZE)

    def link(self, a: Part, b: Part) -> None:
        """A line between two neighbouring parts, in the colour of its operation."""
        operation = self.at.operation_of(a, b)
        colour, width = (GREY, 1.3) if operation is None else (style(operation)[0], 2.0)
        points = [_scaled(point) for point in _curve(*self.at.path(a, b))]
        self.canvas.line(points, fill=colour, width=round(SCALE * width), joint="curve")

    def part(self, part: Part) -> None:
        """A box with its name; nothing for a wire."""
        if part.role == "wire":
            return
        left, right = self.at.spans[part]
        centre, half = self.at.y[part], HEIGHTS[part.role] / 2
        operation = self.at.operation(part) if part.role == "operation" else None
        colour = INK if operation is None else style(operation)[0]
        inner = part.role == "node" and part.node >= self.at.inputs
        self.canvas.rounded_rectangle(
            (*_scaled((left, centre - half)), *_scaled((right, centre + half))),
            radius=SCALE * (16 if inner else 5),
            fill=_pale(colour),
            outline=GREY if self.at.dead(part) else colour,
            width=SCALE,
        )
        if self.at.fed(part):
            head = [(left, centre), (left - 7, centre - 4), (left - 7, centre + 4)]
            self.canvas.polygon([_scaled(point) for point in head], fill=INK)
        place = _scaled(((left + right) / 2, centre))
        self.canvas.text(place, operation or self._name(part), INK, self.font, anchor="mm")

    def _name(self, part: Part) -> str:
        if part.role == "output":
            return "c_k"
        behind = self.at.inputs - part.node
        return f"c_k-{behind}" if behind > 0 else str(-behind)


def _curve(start: Point, p0: Point, p3: Point, end: Point) -> Iterator[Point]:
    """Points along a link: level, a cubic curve, level."""
    middle = (p0[0] + p3[0]) / 2
    xs, ys = (p0[0], middle, middle, p3[0]), (p0[1], p0[1], p3[1], p3[1])
    yield start
    for t in (step / STEPS for step in range(STEPS + 1)):
        shares = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        yield (
            sum(share * x for share, x in zip(shares, xs, strict=True)),
            sum(share * y for share, y in zip(shares, ys, strict=True)),
        )
    yield end


def _scaled(point: Point) -> Point:
    return SCALE * (point[0] + MARGIN), SCALE * (point[1] + MARGIN)


def _pale(colour: str) -> tuple[int, int, int]:
    """The colour, mostly mixed with white."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return (255 - (255 - red) // 7, 255 - (255 - green) // 7, 255 - (255 - blue) // 7)
