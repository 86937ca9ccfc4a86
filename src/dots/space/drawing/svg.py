"""Cells drawn as SVG: nodes, edges, operations, as in the paper's Fig. 4b.

Operations are told apart by their name in a box, by colour and by dashes. Text and lines
take `currentColor`, so that an inlined drawing follows its page; a drawing that is a file of
its own follows the reader's light or dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from dots.space.cell import Cell
from dots.space.drawing.layout import FONT_SIZE, HEIGHTS, Placement, Vertex
from dots.space.genotype import Genotype

FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
MARGIN = 12.0
HEADING = 28.0

# Colours with a contrast of at least 3:1 on white and on near-black.
_STYLES: Mapping[str, tuple[str, str]] = {
    "skip_connect": ("#7c8794", "2 3"),
    "max_pool_3x3": ("#d9730d", "7 3"),
    "avg_pool_3x3": ("#a98307", "7 3 1 3"),
    "sep_conv_3x3": ("#2f80ed", ""),
    "sep_conv_5x5": ("#7a68e0", "12 3"),
    "dil_conv_3x3": ("#1b9a76", "4 2"),
    "dil_conv_5x5": ("#d1477a", "12 3 3 3"),
    "nor_conv_1x1": ("#7a68e0", "12 3"),
    "nor_conv_3x3": ("#2f80ed", ""),
    "noise": ("#d64545", "2 2"),
}
_OTHER_STYLES = (("#0d93ab", "9 2 2 2"), ("#c257c9", "5 5"), ("#6f8f1f", "3 3"))


@dataclass(frozen=True)
class _Picture:
    body: str
    width: float
    height: float


def style(operation: str) -> tuple[str, str]:
    """The colour (hexadecimal) and the dashes (SVG dash array, "" = solid) of an operation."""
    other = _OTHER_STYLES[sum(operation.encode(errors="replace")) % len(_OTHER_STYLES)]
    return _STYLES.get(operation, other)


def cell_svg(cell: Cell, inputs: int = 2, title: str = "") -> str:
    """An SVG document that shows `cell`; `title` is read out and shown on hovering."""
    picture = _picture(cell, inputs)
    return _document([picture], [], title or "cell")


def genotype_svg(genotype: Genotype, title: str = "") -> str:
    """An SVG document with all cells of `genotype`, each under its name."""
    pictures = [_picture(cell, genotype.inputs) for cell in genotype.cells.values()]
    headings = [f"{kind} cell" for kind in genotype.cells]
    return _document(pictures, headings, title or " and ".join(headings))


def _document(pictures: list[_Picture], headings: list[str], title: str) -> str:
    width = max(picture.width for picture in pictures) + 2 * MARGIN
    parts, y = [], MARGIN
    for index, picture in enumerate(pictures):
        if headings:
            place = f'x="{MARGIN:g}" y="{y + 14:.1f}"'
            parts.append(f'<text {place} font-weight="bold">{escape(headings[index])}</text>')
            y += HEADING
        parts.append(f'<g transform="translate({MARGIN} {y:.1f})">{picture.body}</g>')
        y += picture.height + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dots-cell" role="img" '
        f'aria-label="{escape(_printable(title))}" viewBox="0 0 {width:.0f} {y:.0f}" '
        f'width="{width:.0f}" height="{y:.0f}" style="max-width:100%;height:auto" '
        f'font-family="{FONT}" font-size="{FONT_SIZE:g}" fill="currentColor">'
        f"<title>{escape(_printable(title))}</title>"
        # Only where the drawing is a document of its own: inlined, it follows the page.
        "<style>svg.dots-cell:root{color:#1f2328}@media(prefers-color-scheme:dark)"
        "{svg.dots-cell:root{color:#e6edf3}}</style>" + "\n".join(parts) + "</svg>\n"
    )


def _printable(text: str) -> str:
    """Without the characters that XML does not allow."""
    return "".join(c if c.isprintable() else " " for c in text)


def _picture(cell: Cell, inputs: int) -> _Picture:
    return _Painter(Placement(cell, inputs)).picture()


class _Painter:
    """Turns a placed cell into SVG elements."""

    def __init__(self, at: Placement) -> None:
        self.at = at

    def picture(self) -> _Picture:
        """All elements: lines below, boxes and nodes above."""
        lines = [self._link(a, b) for a, b in self.at.links]
        shapes = [self._shape(vertex) for vertex in self.at.vertices]
        return _Picture("\n".join((*lines, *shapes)), self.at.width, self.at.height)

    def _link(self, a: Vertex, b: Vertex) -> str:
        (start, y0), (x0, _), (x1, _), (end, y1) = self.at.path(a, b)
        middle = (x0 + x1) / 2
        path = (
            f"M{start:.1f} {y0:.1f}H{x0:.1f}"
            f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}H{end:.1f}"
        )
        operation = self.at.operation_of(a, b)
        if operation is None:
            look = 'stroke="currentColor" stroke-opacity="0.55" stroke-width="1.3"'
        else:
            look = f'{_stroke(operation)} stroke-width="2"'
        return f'<path d="{path}" fill="none" {look}/>'

    def _shape(self, vertex: Vertex) -> str:
        if vertex.role == "wire":
            return ""
        left, right = self.at.spans[vertex]
        centre, height = self.at.y[vertex], HEIGHTS[vertex.role]
        box = (
            f'<rect x="{left:.1f}" y="{centre - height / 2:.1f}" '
            f'width="{right - left:.1f}" height="{height:.1f}"'
        )
        text = f'<text x="{(left + right) / 2:.1f}" y="{centre + 4:.1f}" text-anchor="middle">'
        if vertex.role == "operation":
            return self._operation_shape(vertex, box, text)
        rounding = 16 if vertex.role == "node" and vertex.node >= self.at.inputs else 4
        dead = self.at.dead(vertex)
        dashes = ' stroke-dasharray="3 3"' if dead else ""
        arrow = f'<path d="M{left:.1f} {centre:.1f}l-7 -4v8z"/>' if self.at.fed(vertex) else ""
        return (
            f"<g><title>{escape(self._name(vertex))}{' (no input)' if dead else ''}</title>{box} "
            f'rx="{rounding}" fill-opacity="0.08" stroke="currentColor"{dashes}/>{arrow}'
            f"{text}{self._label(vertex)}</text></g>"
        )

    def _operation_shape(self, vertex: Vertex, box: str, text: str) -> str:
        operation = self.at.operation(vertex)
        source, target = Vertex("node", self.at.edge(vertex).source), Vertex("node", vertex.node)
        title = f"{operation} from {self._name(source)} to {self._name(target)}"
        colour = style(operation)[0]
        return (
            f'<g class="dots-edge"><title>{escape(_printable(title))}</title>{box} rx="5" '
            f'fill="{colour}" fill-opacity="0.16" {_stroke(operation)} stroke-width="1.5"/>'
            f"{text}{escape(_printable(operation))}</text></g>"
        )

    def _name(self, vertex: Vertex) -> str:
        if vertex.role == "output":
            return "output c_k"
        if vertex.node < self.at.inputs:
            return f"input c_k-{self.at.inputs - vertex.node}"
        return f"node {vertex.node - self.at.inputs}"

    def _label(self, vertex: Vertex) -> str:
        if vertex.role == "node" and vertex.node >= self.at.inputs:
            return str(vertex.node - self.at.inputs)
        back = "" if vertex.role == "output" else f"\N{MINUS SIGN}{self.at.inputs - vertex.node}"
        return f'c<tspan dy="3" font-size="9">k{back}</tspan>'


def _stroke(operation: str) -> str:
    colour, dashes = style(operation)
    return f'stroke="{colour}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
