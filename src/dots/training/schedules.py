"""How rates and temperatures go from one value to another (Eq. 9)."""

from __future__ import annotations

import math


def geometric(start: float, end: float, position: int, count: int) -> float:
    """T(t) = T0 · θ^t (Eq. 9), from `start` at position 0 to `end` at position count - 1."""
    if count <= 1:
        return end
    return float(start * (end / start) ** (position / (count - 1)))


def linear(start: float, end: float, position: float, count: int) -> float:
    """A straight line from `start` at position 0 to `end` at position count - 1."""
    if count <= 1:
        return end
    return start + (end - start) * position / (count - 1)


def cosine(start: float, end: float, epoch: float, horizon: int) -> float:
    """η(e) = η_min + (η0 - η_min)(1 + cos(πe/T))/2, held at `end` beyond the horizon."""
    share = min(max(epoch / horizon, 0.0), 1.0) if horizon > 0 else 1.0
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
