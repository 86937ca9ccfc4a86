"""How far the choice of test images alone can move an accuracy."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: 95 % intervals."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share of `count` images that were got right."""
    centre = share + Z**2 / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def difference(one: float, other: float, count: int) -> tuple[float, float]:
    """Newcombe's 95 % interval of `one` - `other`, both shares of `count` images.

    It takes the two as independent. They share their test images here, so it is rather too
    wide than too narrow.
    """
    low_one, high_one = wilson(one, count)
    low_other, high_other = wilson(other, count)
    gap = one - other
    return (
        gap - math.hypot(one - low_one, high_other - other),
        gap + math.hypot(high_one - one, other - low_other),
    )
