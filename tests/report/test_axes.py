"""Round ticks, scales and labels that do not overlap."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dots.report.charts.axes import Scale, padded, spread, tick_text, ticks

finite = st.floats(-1e6, 1e6, allow_nan=False)


def test_ticks_are_round() -> None:
    assert ticks(0, 1, 5) == [0, 0.5, 1]
    assert ticks(0.13, 0.87, 5) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(1, 20, 5, whole=True) == [5, 10, 15, 20]
    assert ticks(1, 3, 9, whole=True) == [1, 2, 3]
    assert ticks(7, 7) == [7]
    assert ticks(1, 80, 4, whole=True) == [20, 40, 60, 80]


@given(low=st.floats(-1e3, 1e3), extent=st.floats(1e-3, 1e6), count=st.integers(2, 12))
def test_ticks_lie_within_and_are_evenly_spaced(low: float, extent: float, count: int) -> None:
    high = low + extent
    values = ticks(low, high, count)
    assert all(low - 1e-6 * extent <= value <= high + 1e-6 * extent for value in values)
    assert 1 <= len(values) <= count
    gaps = [b - a for a, b in pairwise(values)]
    assert all(gap == pytest.approx(gaps[0], rel=1e-6) for gap in gaps)


def test_a_scale_maps_its_ends_and_its_middle() -> None:
    scale = Scale(10, 20, 200, 0)
    assert [scale(10), scale(15), scale(20)] == [200, 100, 0]
    assert Scale(3, 3, 0, 10)(3) == 5


@given(st.lists(finite, min_size=1, max_size=5))
def test_padding_contains_every_value(values: list[float]) -> None:
    low, high = padded(values)
    assert low < min(values)
    assert max(values) < high


def test_tick_texts_have_the_digits_of_their_step() -> None:
    assert tick_text(0.25, 0.05) == "0.25"
    assert tick_text(5, 5) == "5"
    assert tick_text(-1.5, 0.5) == "−1.5"


@given(
    places=st.lists(st.floats(0, 100), min_size=1, max_size=9),
    gap=st.floats(0.5, 30),
)
def test_spread_keeps_order_distance_and_bounds(places: list[float], gap: float) -> None:
    moved = spread(places, gap, 0, 100)
    gap = min(gap, 100 / max(1, len(places) - 1))
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    for before, after in pairwise(order):
        assert moved[after] - moved[before] >= gap - 1e-6
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in moved)


def test_labels_that_do_not_meet_stay() -> None:
    assert spread([10, 90, 50], 12, 0, 100) == [10, 90, 50]
