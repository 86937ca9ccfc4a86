"""Drawn cells: well-formed, complete, and nothing on top of anything else."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dots import zoo
from dots.space.drawing.layout import CHARACTER
from dots.space.drawing.svg import cell_svg, genotype_svg, style
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import (
    DARTS_OPERATIONS,
    GENOTYPE_OPERATIONS,
    NASBENCH201_OPERATIONS,
    ZERO,
)
from dots.zoo.nasbench201 import from_string

SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[float, float, float, float]


def parse(svg: str) -> ElementTree.Element:
    """The root of a drawing, which must be well-formed XML."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return root


def boxes(root: ElementTree.Element) -> list[Box]:
    """Left, top, right, bottom of every node and operation."""
    found = []
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    return found


def curves(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """Points along every line."""
    found = []
    for path in root.iter(f"{SVG}path"):
        if path.attrib.get("fill") != "none":  # an arrow head
            continue
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.attrib["d"])]
        start, y0, x0, x1, y1, x2, y2, x3, y3, end = numbers
        points = [(start, y0), ((start + x0) / 2, y0)]
        for t in (step / 20 for step in range(21)):
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            points.append((a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3))
        points += [((x3 + end) / 2, y3), (end, y3)]
        found.append(points)
    return found


def operations(root: ElementTree.Element) -> list[str]:
    """The label of every operation box."""
    groups = [g for g in root.iter(f"{SVG}g") if g.attrib.get("class") == "dots-edge"]
    return sorted(str(g.findtext(f"{SVG}text")) for g in groups)


def check(cell: Cell, inputs: int) -> None:
    """All edges are there; boxes are apart, inside the picture, and hold their text."""
    root = parse(cell_svg(cell, inputs))
    assert operations(root) == sorted(edge.op for edges in cell.nodes for edge in edges)
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    found = boxes(root)
    assert len(found) == inputs + len(cell.nodes) + cell.edges + 1
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for a, b in combinations(found, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for group in root.iter(f"{SVG}g"):
        if group.attrib.get("class") == "dots-edge":
            label, rect = group.findtext(f"{SVG}text"), group.find(f"{SVG}rect")
            assert rect is not None
            assert len(str(label)) * CHARACTER < float(rect.attrib["width"])
    for curve in curves(root):
        for x, y in curve:
            for left, top, right, bottom in found:
                assert not (left + 0.2 < x < right - 0.2 and top + 0.2 < y < bottom - 0.2)


@pytest.mark.parametrize("name", zoo.names())
def test_published_cells_are_drawn_without_overlaps(name: str) -> None:
    for cell in zoo.load(name).genotype.cells.values():
        check(cell, inputs=2)


@st.composite
def cells(draw: st.DrawFn, inputs: int) -> Cell:
    """Any cell, with parallel edges, nodes without input and inputs in the output."""
    last = inputs + draw(st.integers(1, 6))
    names = st.sampled_from(sorted(GENOTYPE_OPERATIONS))
    nodes = [
        tuple(draw(st.lists(st.builds(Edge, names, st.integers(0, target - 1)), max_size=5)))
        for target in range(inputs, last)
    ]
    concat = draw(st.lists(st.integers(0, last - 1), min_size=1, unique=True))
    return Cell(tuple(nodes), tuple(concat))


@given(st.integers(1, 3).flatmap(lambda inputs: st.tuples(cells(inputs), st.just(inputs))))
@settings(deadline=None, max_examples=40)
def test_any_cell_is_drawn_without_overlaps(case: tuple[Cell, int]) -> None:
    check(*case)


def test_a_wire_leads_to_each_user_and_to_the_output() -> None:
    cell = Cell(((Edge("skip_connect", 0),), (Edge("noise", 2), Edge("noise", 0))), (0, 2, 3))
    root = parse(cell_svg(cell))
    titles = [str(group.findtext(f"{SVG}title")) for group in root.iter(f"{SVG}g")]
    assert "skip_connect from input c_k-2 to node 0" in titles
    assert "noise from node 0 to node 1" in titles
    right = max(box[2] for box in boxes(root))
    output_left = max(box[0] for box in boxes(root) if box[2] == right)
    ends = [curve for curve in curves(root) if abs(curve[-1][0] - output_left) < 0.2]
    assert len(ends) == 3


def test_a_node_without_input_is_marked_and_not_joined_to_the_output() -> None:
    svg = cell_svg(Cell(((), (Edge("skip_connect", 1),)), (2, 3)))
    assert "node 0 (no input)" in svg
    assert "node 1 (no input)" not in svg
    assert len(curves(parse(svg))) == 3  # into the box, out of it, into the output


def test_operations_of_a_space_differ_in_colour_and_in_dashes() -> None:
    for names in (DARTS_OPERATIONS, NASBENCH201_OPERATIONS, ("sep_conv_3x3", "noise")):
        styles = [style(name) for name in names if name != ZERO]
        assert len({colour for colour, _ in styles}) == len(styles)
        assert len({dashes for _, dashes in styles}) == len(styles)


def test_colours_stand_out_on_white_and_on_black() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for name in GENOTYPE_OPERATIONS:
        light = luminance(style(name)[0])
        assert 1.05 / (light + 0.05) >= 3
        assert (light + 0.05) / (luminance("#0d1117") + 0.05) >= 3


def test_text_is_escaped_and_control_characters_are_dropped() -> None:
    cell = Cell(((Edge('<b>&"\0\ud800', 0),),), (2,))
    title = '</title><script>alert("x")</script>\x1b'
    root = parse(cell_svg(cell, title=title))
    assert root.findtext(f"{SVG}title") == title.replace("\x1b", " ")
    assert not list(root.iter(f"{SVG}script"))
    assert operations(root) == ['<b>&"  ']


def test_a_genotype_shows_each_cell_under_its_name() -> None:
    genotype = zoo.load("DOTS_C10").genotype
    root = parse(genotype_svg(genotype, title="DOTS"))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "normal cell" in texts
    assert "reduce cell" in texts
    assert len(operations(root)) == 16
    assert root.findtext(f"{SVG}title") == "DOTS"
    assert root.attrib["aria-label"] == "DOTS"


def test_a_cell_with_one_input_has_its_own_label() -> None:
    genotype = from_string(
        "|skip_connect~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|"
    )
    svg = genotype_svg(genotype)
    assert "input c_k-1" in svg
    assert "input c_k-2" not in svg
    check(genotype.cells["normal"], inputs=1)


def test_drawings_ask_for_nothing_from_outside_and_repeat_exactly() -> None:
    genotype = zoo.load("NASNet_A_tf").genotype
    svg = genotype_svg(genotype)
    assert svg == genotype_svg(genotype)
    assert svg.count("http") == 1  # the name space
    assert " id=" not in svg  # many drawings may share a page


def test_a_large_dense_cell_is_drawn_in_a_moment() -> None:
    nodes = tuple(
        tuple(Edge("sep_conv_3x3", source) for source in range(target)) for target in range(2, 22)
    )
    cell = Cell(nodes, tuple(range(2, 22)))
    genotype = Genotype({"normal": cell, "reduce": cell})
    assert len(operations(parse(genotype_svg(genotype)))) == 2 * cell.edges
