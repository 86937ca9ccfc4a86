"""Charts of single results: accuracies with their intervals, and accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dots.report.charts.axes import Scale, padded, tick_text, ticks
from dots.report.charts.svg import figure, join, line, marker, text, text_width


@dataclass(frozen=True)
class Estimate:
    """A value with the interval it lies in (fractions), its label and its style (0..5)."""

    label: str
    value: float
    low: float
    high: float
    style: int


@dataclass(frozen=True)
class Dot:
    """A point of a scatter chart. `x` is a cost, `y` a fraction."""

    label: str
    x: float
    y: float
    style: int


def interval_chart(estimates: Sequence[Estimate], title: str) -> Markup:
    """A row for each estimate: a point on its interval, the value written beside it."""
    width, row = 340, 34
    left = 12 + max(text_width(one.label) for one in estimates)
    height = 30 + row * len(estimates) + 40
    low, high = padded([end for one in estimates for end in (one.low, one.high)])
    scale = Scale(max(0.0, low), min(1.0, high), left, width - 14)
    bottom = 30 + row * len(estimates)
    parts = [text(4, 14, title, class_="chart-title"), _percent_axis(scale, 26, bottom)]
    for index, one in enumerate(estimates):
        y = 30 + row * (index + 0.5)
        parts.append(text(left - 10, y + 4, one.label, "end", f"label s{one.style}"))
        parts.append(line(scale(one.low), y, scale(one.high), y, f"whisker s{one.style}"))
        for end in (one.low, one.high):
            parts.append(line(scale(end), y - 4, scale(end), y + 4, f"whisker s{one.style}"))
        parts.append(marker(scale(one.value), y, one.style))
    middle = (scale.start + scale.end) / 2
    parts.append(text(middle, bottom + 34, "test accuracy in %", "middle", "axis-label"))
    spoken = "; ".join(
        f"{one.label}: {one.value:.2%}, interval {one.low:.2%} to {one.high:.2%}"
        for one in estimates
    )
    return figure(width, height, f"{title}. {spoken}", *parts)


def _percent_axis(scale: Scale, top: float, bottom: float) -> Markup:
    values = ticks(100 * scale.low, 100 * scale.high, 4)
    step = values[1] - values[0] if len(values) > 1 else 1
    parts = []
    for value in values:
        x = scale(value / 100)
        parts.append(line(x, top, x, bottom, "grid"))
        parts.append(text(x, bottom + 16, tick_text(value, step), "middle", "tick"))
    return join(parts)


def scatter_chart(
    dots: Sequence[Dot], title: str, x_label: str, rug: Sequence[float] = ()
) -> Markup:
    """Accuracy against a cost; every dot carries its label, moved where two would overlap.

    `rug` are costs of networks without an accuracy: ticks above the axis, those not far beyond
    the dots (a few far away would press the dots together).
    """
    width, height = 340, 230
    costs = [dot.x for dot in dots]
    near = [x for x in rug if min(costs) / 2 <= x <= 2 * max(costs)]
    x_low, x_high = padded([*costs, *near], 0.12)
    y_low, y_high = padded([dot.y for dot in dots], 0.15)
    x_scale = Scale(max(0.0, x_low), x_high, 50, width - 16)
    y_scale = Scale(100 * max(0.0, y_low), 100 * min(1.0, y_high), height - 44, 30)
    parts = [text(4, 14, title, class_="chart-title")]
    parts.append(_grid(x_scale, y_scale))
    foot = y_scale.start
    parts += [line(x_scale(x), foot, x_scale(x), foot - 7, "rug") for x in near]
    middle = (x_scale.start + x_scale.end) / 2
    parts.append(text(middle, height - 8, x_label, "middle", "axis-label"))
    places = [(x_scale(dot.x), y_scale(100 * dot.y)) for dot in dots]
    for dot, (x, y), box in zip(
        dots, places, place_labels(dots, places, width, height), strict=True
    ):
        if abs(box.y + 4 - y) > 14:
            parts.append(line(x, y, box.x, box.y, "leader"))
        parts.append(marker(x, y, dot.style, 5))
        parts.append(text(box.x, box.y + 4, dot.label, class_=f"label s{dot.style}"))
    spoken = "; ".join(f"{dot.label}: {dot.x:g}, {dot.y:.2%}" for dot in dots)
    return figure(width, height, f"{title}. {x_label}, test accuracy: {spoken}", *parts)


def _grid(x_scale: Scale, y_scale: Scale) -> Markup:
    y_values = ticks(y_scale.low, y_scale.high, 5)
    y_step = y_values[1] - y_values[0] if len(y_values) > 1 else 1
    x_values = ticks(x_scale.low, x_scale.high, 5)
    x_step = x_values[1] - x_values[0] if len(x_values) > 1 else 1
    parts = []
    for value in y_values:
        y = y_scale(value)
        parts.append(line(x_scale.start, y, x_scale.end, y, "grid"))
        parts.append(text(x_scale.start - 6, y + 4, f"{tick_text(value, y_step)} %", "end", "tick"))
    for value in x_values:
        x = x_scale(value)
        parts.append(line(x, y_scale.start, x, y_scale.start + 4, "axis"))
        parts.append(text(x, y_scale.start + 16, tick_text(value, x_step), "middle", "tick"))
    parts.append(line(x_scale.start, y_scale.start, x_scale.end, y_scale.start, "axis"))
    return join(parts)


@dataclass(frozen=True)
class Box:
    """Where a label stands: its left end, its middle line and its width."""

    x: float
    y: float
    width: float

    def meets(self, other: Box) -> bool:
        """Whether the two labels would overlap."""
        apart = self.x + self.width + 4 < other.x or other.x + other.width + 4 < self.x
        return not apart and abs(self.y - other.y) < 14


def place_labels(
    dots: Sequence[Dot], places: Sequence[tuple[float, float]], width: float, height: float
) -> list[Box]:
    """A place for each label beside its dot, or further up or down, free of the others."""
    obstacles = [Box(x - 6, y, 12) for x, y in places]
    boxes: list[Box] = []
    for index, (dot, (x, y)) in enumerate(zip(dots, places, strict=True)):
        length = text_width(dot.label)
        others = [*boxes, *obstacles[:index], *obstacles[index + 1 :]]
        tried = list(_tries(x, y, length, width, height))
        free = [box for box in tried if not any(box.meets(other) for other in others)]
        boxes.append(free[0] if free else tried[0])
    return boxes


def _tries(x: float, y: float, length: float, width: float, height: float) -> Sequence[Box]:
    right, left = x + 10, x - 10 - length
    middle = min(max(4, x - length / 2), width - 4 - length)
    sides = [side for side in (right, left) if side >= 4 and side + length <= width - 2]
    near = [Box(side, y, length) for side in sides]
    steps = [sign * step for step in range(16, 129, 14) for sign in (-1, 1)]
    far = [Box(place, y + step, length) for step in steps for place in (*sides, middle)]
    return [*near, *[box for box in far if 38 < box.y < height - 54]] or [Box(x, y - 14, length)]
