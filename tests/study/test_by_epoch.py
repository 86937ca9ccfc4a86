"""Ratings by β after each epoch, on cases worked out by hand."""

from __future__ import annotations

import math

import pytest

from dots.space.search_space import nasbench201_space
from dots.study import ratings
from dots.study.lines import Row

SPACE = nasbench201_space()


def test_a_combination_is_rated_by_the_logarithm_of_its_probability() -> None:
    last = [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    entry = {"beta": {"normal": [[1.0], [0.5, 0.25, 0.25], last]}}
    rating = ratings.rating_after(SPACE, entry, "any", "normal")
    assert rating(0, (0,)) == pytest.approx(0)
    assert rating(1, (0,)) == pytest.approx(math.log(0.5))
    assert rating(1, (0, 1)) == pytest.approx(math.log(0.25))
    assert rating(2, (0,)) == pytest.approx(math.log(0.4))


def test_combinations_that_have_lost_for_good_are_rated_alike_and_last() -> None:
    entry = {"beta": {"normal": [[1.0], [1.0, 0.0, 0.0], [1.0] + [0.0] * 6]}}
    rating = ratings.rating_after(SPACE, entry, "any", "normal")
    assert rating(1, (1,)) == rating(1, (0, 1))
    assert -math.inf < rating(1, (1,)) < rating(1, (0,))


def test_the_table_has_a_line_for_each_epoch_and_means_over_seeds() -> None:
    def row(*taus: float | None) -> Row:
        heats = (10.0, 0.02)
        return {
            "by_epoch": [
                {"epoch": epoch, "temperature": heat, "tau": tau, "tau_equal_size": tau}
                for epoch, (heat, tau) in enumerate(zip(heats, taus, strict=True))
            ]
        }

    columns = {"tau": ("Kendall τ", 1, 2), "regret": ("regret, points", 100, 2)}
    rows = [row(None, 0.5), {"by_epoch": None}, row(None, 0.7)]
    assert ratings.markdown_by_epoch(rows, columns) == (
        "| epoch of the topology search | T | Kendall τ |\n"
        "| --- | ---: | ---: |\n"
        "| 1 | 10 | – |\n"
        "| 2 | 0.02 | 0.60 ± 0.14 |"
    )
    assert ratings.markdown_by_epoch([{"by_epoch": None}, {"error": "x"}], columns) is None
