"""Scales, ticks and label places: the arithmetic under every chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A straight map from data (`low`..`high`) to the picture (`start`..`end`)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of `value` in the picture; a scale without extent maps to its middle."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Round numbers within [low, high], as many as fit into `count`: steps of 1, 2, 5 × 10^k.

    With `whole`, only integers. Where the two ends are equal, that one value.
    """
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    steps = (factor * power for factor in (1, 2, 5, 10, 20))
    for step in steps if not whole else (max(1.0, step) for step in steps):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < count:
            return [round(index * step, 12) for index in range(first, last + 1)]
    return [low]


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """The range of `values` with a margin on both sides, never without extent."""
    low, high = min(values), max(values)
    margin = (high - low) * share or max(abs(high) * 0.05, 0.05)
    return low - margin, high + margin


def tick_text(value: float, step: float) -> str:
    """A tick as text, with just the digits that its step needs."""
    if value and (abs(value) >= 1e6 or abs(step) < 1e-4):
        return f"{value:.2g}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 2
    return f"{value:.{digits}f}".replace("-", "−")


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart so that neighbours are `gap` from each other, within [low, high].

    Returns the new places in the order given; where they do not fit, the gap shrinks.
    """
    count = len(places)
    if count < 2:
        return [min(max(place, low), high) for place in places]
    gap = min(gap, (high - low) / (count - 1))
    order = sorted(range(count), key=lambda index: (places[index], index))
    moved = [min(max(places[index], low), high) for index in order]
    for index in range(1, count):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    moved[-1] = min(moved[-1], high)
    for index in range(count - 2, -1, -1):
        moved[index] = min(moved[index], moved[index + 1] - gap)
    result = [0.0] * count
    for place, index in zip(moved, order, strict=True):
        result[index] = place
    return result
