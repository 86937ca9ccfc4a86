"""Line charts as inline SVG: axes, round ticks, a label at the end of each line.

Sizes are CSS pixels at full scale. Charts are drawn about as wide as a phone, so that text
stays readable there; pages set several side by side where there is room. Series differ in
dash and end marker as well as in colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dots.report.charts.axes import Scale, padded, spread, tick_text, ticks
from dots.report.charts.svg import element, figure, join, line, marker, text, text_width

Point = tuple[float, float]
LABEL_LIMIT = 18


@dataclass(frozen=True)
class Series:
    """A line: its label, its points by rising x, and its style (0..5).

    A quiet series is thin and grey and has no label: the many that only form a background.
    """

    label: str
    points: Sequence[Point]
    style: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Mark:
    """A dashed vertical line at x, with a word on what happened there."""

    x: float
    label: str


@dataclass(frozen=True)
class Frame:
    """The size and axes of a chart.

    `y_range` None: from the data, with a margin. `label_room` is the least room for labels on
    the right: given the same, neighbouring charts have axes of one length.
    """

    title: str
    x_label: str
    y_label: str
    width: int = 340
    height: int = 214
    label_room: float = 0
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    y_text: Callable[[float, float], str] = tick_text


def line_chart(frame: Frame, series: Sequence[Series], marks: Sequence[Mark] = ()) -> Markup:
    """The chart; series without points are left out. Needs at least one point in all."""
    drawn = [one for one in series if one.points]
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points]
    named = [one for one in drawn if not one.quiet]
    right = 14 + max((text_width(_short(one.label)) for one in named), default=0) + 8
    right = max(right, frame.label_room)
    x_low, x_high = frame.x_range or (min(xs), max(xs))
    y_low, y_high = frame.y_range or padded(ys)
    x_scale = Scale(x_low, x_high, 46, frame.width - right)
    y_scale = Scale(y_low, y_high, frame.height - 40, 32)
    return figure(
        frame.width,
        frame.height,
        _spoken(frame, named),
        text(4, 14, frame.title, class_="chart-title"),
        _y_axis(frame, x_scale, y_scale),
        _x_axis(frame, x_scale, y_scale),
        _marks(marks, x_scale, y_scale),
        join(_path(one, x_scale, y_scale) for one in drawn if one.quiet),
        join(_path(one, x_scale, y_scale) for one in named),
        _labels(named, x_scale, y_scale),
    )


def _short(label: str) -> str:
    return label if len(label) <= LABEL_LIMIT else label[: LABEL_LIMIT - 1] + "…"


def _spoken(frame: Frame, series: Sequence[Series]) -> str:
    ends = "; ".join(
        f"{one.label} ends at {frame.y_text(one.points[-1][1], 0.01)}" for one in series
    )
    return f"{frame.title}. {frame.y_label} against {frame.x_label}: {ends}"


def _y_axis(frame: Frame, x_scale: Scale, y_scale: Scale) -> Markup:
    values = ticks(y_scale.low, y_scale.high, 5)
    step = values[1] - values[0] if len(values) > 1 else 0.01
    parts = []
    for value in values:
        y = y_scale(value)
        parts.append(line(x_scale.start, y, x_scale.end, y, "grid"))
        parts.append(text(x_scale.start - 6, y + 4, frame.y_text(value, step), "end", "tick"))
    return join(parts)


def _x_axis(frame: Frame, x_scale: Scale, y_scale: Scale) -> Markup:
    room = max(2, int((x_scale.end - x_scale.start) / 45))
    parts = [line(x_scale.start, y_scale.start, x_scale.end, y_scale.start, "axis")]
    for value in ticks(x_scale.low, x_scale.high, room, whole=True):
        x = x_scale(value)
        parts.append(line(x, y_scale.start, x, y_scale.start + 4, "axis"))
        parts.append(text(x, y_scale.start + 16, f"{value:g}", "middle", "tick"))
    middle = (x_scale.start + x_scale.end) / 2
    parts.append(text(middle, y_scale.start + 32, frame.x_label, "middle", "axis-label"))
    return join(parts)


def _marks(marks: Sequence[Mark], x_scale: Scale, y_scale: Scale) -> Markup:
    parts = []
    for mark in marks:
        x = x_scale(mark.x)
        right = x + 4 + text_width(mark.label, 10) > x_scale.end
        parts.append(line(x, y_scale.start, x, y_scale.end, "mark"))
        place, anchor = (x + 4, "end") if right else (x - 4, "start")
        parts.append(text(place, y_scale.end - 3, mark.label, anchor, "mark-label"))
    return join(parts)


def _path(one: Series, x_scale: Scale, y_scale: Scale) -> Markup:
    class_ = "line quiet" if one.quiet else f"line s{one.style % 6}"
    if len(one.points) == 1:
        x, y = one.points[0]
        return marker(x_scale(x), y_scale(y), one.style, 3)
    moves = " ".join(f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in one.points)
    return element("polyline", points=moves, class_=class_)


def _labels(series: Sequence[Series], x_scale: Scale, y_scale: Scale) -> Markup:
    ends = [y_scale(one.points[-1][1]) for one in series]
    places = spread(ends, 13, y_scale.end, y_scale.start)
    parts = []
    for one, end, place in zip(series, ends, places, strict=True):
        x = x_scale(one.points[-1][0])
        label_x = x_scale.end + 14
        if abs(place - end) > 2 or x < x_scale.end - 1:
            parts.append(line(x + 4, end, label_x - 3, place, "leader"))
        parts.append(marker(x, end, one.style, 3.2))
        name = element("title", one.label) + _short(one.label)
        parts.append(text(label_x, place + 4, name, class_=f"label s{one.style % 6}"))
    return join(parts)
