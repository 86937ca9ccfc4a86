"""Charts are well-formed pictures whose labels keep off each other."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from dots.report.charts.lines import Frame, Mark, Series, line_chart
from dots.report.charts.points import Dot, Estimate, interval_chart, place_labels, scatter_chart
from dots.report.charts.svg import element, text_width

FRAME = Frame("Loss <of> all", "epoch", "loss")


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def texts(picture: str) -> list[str]:
    return ["".join(node.itertext()) for node in parsed(picture).iter("text")]


def test_elements_escape_their_text() -> None:
    written = element("a", "<b>", title='say "no"', data_edge=3, class_="x", absent=None)
    assert written == ('<a title="say &#34;no&#34;" data-edge="3" class="x">&lt;b&gt;</a>')


def test_a_line_goes_through_its_points() -> None:
    chart = line_chart(FRAME, [Series("a & b", [(1, 0.0), (2, 10.0), (3, 5.0)])])
    (line,) = parsed(chart).iter("polyline")
    points = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
    xs, ys = zip(*points, strict=True)
    assert abs((xs[0] + xs[2]) / 2 - xs[1]) < 0.2
    assert ys[1] < ys[2] < ys[0]  # the picture counts down
    assert abs((ys[0] + ys[1]) / 2 - ys[2]) < 0.2
    assert "Loss <of> all" in texts(chart)
    assert any(text.endswith("a & b") for text in texts(chart))


def test_quiet_lines_have_no_label_and_empty_ones_vanish() -> None:
    chart = line_chart(
        FRAME,
        [
            Series("loud", [(1, 1.0), (2, 2.0)]),
            Series("quiet", [(1, 2.0), (2, 1.0)], quiet=True),
            Series("empty", []),
        ],
        [Mark(2, "here")],
    )
    assert len(list(parsed(chart).iter("polyline"))) == 2
    words = " ".join(texts(chart))
    assert "loud" in words
    assert "here" in words
    assert "quiet" not in words
    assert "empty" not in words


def test_one_epoch_is_a_point() -> None:
    chart = parsed(line_chart(FRAME, [Series("a", [(1, 0.5)])]))
    assert not list(chart.iter("polyline"))
    assert list(chart.iter("circle"))


def test_series_differ_in_more_than_colour() -> None:
    series = [Series(str(style), [(1, style), (2, style)], style) for style in range(6)]
    drawn = parsed(line_chart(FRAME, series))
    assert {line.get("class") for line in drawn.iter("polyline")} == {
        f"line s{style}" for style in range(6)
    }
    shapes = [node for node in drawn.iter() if "point" in node.get("class", "")]
    assert len(shapes) == 6
    assert len({node.get("points", "round").count(" ") for node in shapes}) >= 3


def test_an_interval_chart_tells_its_numbers() -> None:
    chart = interval_chart([Estimate("Found", 0.97, 0.95, 0.985, 0)], "Accuracy")
    assert "97.00%, interval 95.00% to 98.50%" in (parsed(chart).get("aria-label") or "")
    (circle,) = parsed(chart).iter("circle")
    whisker, *_ = (n for n in parsed(chart).iter("line") if "whisker" in n.get("class", ""))
    assert float(whisker.get("x1", "")) < float(circle.get("cx", "")) < float(whisker.get("x2", ""))


dots = st.builds(
    Dot,
    label=st.text("ABCDE random", min_size=1, max_size=8),
    x=st.floats(0.1, 10),
    y=st.floats(0, 1),
    style=st.integers(0, 5),
)


@settings(deadline=None)
@given(st.lists(dots, min_size=1, max_size=4))
def test_scatter_labels_do_not_overlap(found: list[Dot]) -> None:
    places = [(50 + 27 * dot.x, 180 - 140 * dot.y) for dot in found]
    boxes = place_labels(found, places, 340, 230)
    assert not any(a.meets(b) for a, b in combinations(boxes, 2))
    for box, dot in zip(boxes, found, strict=True):
        assert box.x >= 0
        assert box.x + text_width(dot.label) <= 340


@given(st.lists(dots, min_size=1, max_size=12))
def test_every_dot_is_drawn_and_named(found: list[Dot]) -> None:
    chart = scatter_chart(found, "Accuracy", "parameters")
    drawn = [n for n in parsed(chart).iter() if n.get("class", "").startswith("point")]
    assert len(drawn) == len(found)
    assert all(dot.label in texts(chart) for dot in found)
