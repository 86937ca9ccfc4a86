"""Numbers and names as a reader sees them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dots.report import wording


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (134, "2 min 14 s"),
        (3599.7, "1 h 0 min"),
        (22_680, "6 h 18 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert wording.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (812, "812"),
        (3_526_000, "3.526 M"),
        (184_330, "184.3 k"),
        (581_000_000, "581.0 M"),
        (1_448_000_000, "1.448 G"),
        (None, "–"),
    ],
)
def test_amounts(count: int | None, said: str) -> None:
    assert wording.amount(count) == said


def test_percentages_and_points() -> None:
    assert wording.percent(0.9751) == "97.51 %"
    assert wording.points(0.003) == "+0.30 points"
    assert wording.points(-0.0217) == "−2.17 points"
    assert wording.points(-0.00001) == "±0 points"


def test_operations_and_nodes() -> None:
    names = ("none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "my_op")
    short = ["zero", "skip", "sep 3×3", "dil 5×5", "max 3×3", "my op"]
    assert [wording.operation(name) for name in names] == short
    assert [wording.node(index, 2) for index in range(4)] == ["k−2", "k−1", "0", "1"]
    assert [wording.node(index, 1) for index in range(2)] == ["k−1", "0"]


def test_values_of_settings() -> None:
    assert wording.number(True) == "yes"
    assert wording.number(None) == "–"
    assert wording.number(3e-4) == "0.0003"
    assert wording.number([0.5, 0.999]) == "0.5, 0.999"
    assert wording.number([]) == "–"


@given(st.text())
def test_shown_names_are_short_and_plain(name: str) -> None:
    shown = wording.visible(name)
    assert 0 < len(shown) <= 60
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Cs"} for char in shown)


@given(st.text(max_size=8), st.text(max_size=8))
def test_different_short_names_look_different(one: str, other: str) -> None:
    hidden = "\\" in one + other or "(empty)" in (one, other)
    assert one == other or hidden or wording.visible(one) != wording.visible(other)
