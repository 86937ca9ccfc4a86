"""Means over seeds with their uncertainty, and rank correlation."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Of `count` values: mean, largest, sample standard deviation, Student's t interval.

    `low` and `high` bound the mean with 95 % confidence, if the values are independent and
    about normal. One value has neither deviation nor interval.
    """

    count: int
    mean: float
    best: float
    deviation: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def summarise(values: Sequence[float]) -> Summary | None:
    """The summary of some values; None where there are none."""
    count = len(values)
    if not count:
        return None
    mean = math.fsum(values) / count
    if count == 1:
        return Summary(1, mean, values[0], None, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
    return Summary(count, mean, max(values), deviation, mean - reach, mean + reach)


def kendall_tau(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Hashable] | None = None,
) -> float | None:
    """Kendall's τ-b of two ratings of the same things; with ties, as scipy.stats.kendalltau.

    With `groups` only pairs of the same group count: agreement within groups, whatever the
    order between them. None where a rating ties every pair, or there is no pair.
    """
    agreement = untied_first = untied_second = 0
    for one, other in combinations(range(len(first)), 2):
        if groups is not None and groups[one] != groups[other]:
            continue
        a = _sign(first[one] - first[other])
        b = _sign(second[one] - second[other])
        agreement += a * b
        untied_first += abs(a)
        untied_second += abs(b)
    if not untied_first or not untied_second:
        return None
    return agreement / math.sqrt(untied_first * untied_second)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
