"""Whether to search at all depends on what half B can tell apart."""

from __future__ import annotations

import pytest

from dots.runs.planning.forecast import advice
from dots.runs.planning.time_estimate import Counts


@pytest.mark.parametrize(
    ("half_b", "said"),
    [
        (1500, "dots run; half B has 1500 images, on which equal cells differ by 0.8 points"),
        (60, "dots train plain DATA, without a search; half B has 60 images"),
    ],
)
def test_advice(half_b: int, said: str) -> None:
    assert advice(Counts(half_b, 2 * half_b, 2 * half_b, 10, half_b, half_b)).startswith(said)
