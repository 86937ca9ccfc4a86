"""Summaries and Kendall's τ against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dots.study.statistics import kendall_tau, summarise

few = st.integers(0, 5).map(float)


@settings(deadline=None)
@given(st.lists(st.tuples(few, few), min_size=2, max_size=21))
def test_tau_is_scipy_s_with_ties(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    ours = kendall_tau(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert ours is None
    else:
        theirs = stats.kendalltau(first, second).statistic
        assert ours == pytest.approx(theirs, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(few, few), min_size=2, max_size=21))
def test_one_group_changes_nothing(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    assert kendall_tau(first, second, ["one"] * len(first)) == kendall_tau(first, second)


def test_groups_hide_the_order_between_them() -> None:
    sizes = [1, 1, 2, 2, 3, 3]
    accuracies = [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]
    assert kendall_tau(sizes, accuracies) == pytest.approx(
        stats.kendalltau(sizes, accuracies).statistic
    )
    assert kendall_tau(sizes, accuracies) > 0.8
    assert kendall_tau(sizes, accuracies, sizes) is None, "within a size, the size says nothing"
    assert kendall_tau([-a for a in accuracies], accuracies, sizes) == -1
    # (1 concordant pair, 2 discordant, in groups of two)
    assert kendall_tau([2, 1, 3, 4, 5, 6], accuracies, sizes) == pytest.approx(-1 / 3)


def test_tau_of_too_little_is_unknown() -> None:
    assert kendall_tau([], []) is None
    assert kendall_tau([1.0], [2.0]) is None


def test_a_summary_is_numpy_s_and_scipy_s() -> None:
    values = [93.1, 94.0, 92.2, 93.9]
    summary = summarise(values)
    assert summary is not None
    assert (summary.count, summary.best) == (4, 94.0)
    assert summary.mean == pytest.approx(np.mean(values))
    assert summary.deviation == pytest.approx(np.std(values, ddof=1))
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (summary.low, summary.high) == (pytest.approx(low), pytest.approx(high))
    assert math.isclose(summary.high - summary.mean, summary.mean - summary.low)


def test_one_value_has_no_spread_and_none_no_summary() -> None:
    summary = summarise([5.0])
    assert summary is not None
    assert (summary.mean, summary.deviation, summary.low, summary.high) == (5.0, None, None, None)
    assert summarise([]) is None
