"""An alternatives.json as a topology search writes it, with made-up costs."""

from __future__ import annotations

from typing import Any

import numpy as np


def alternatives(random: np.random.Generator, limits: dict[str, int] | None = None) -> Any:
    """Ten probable cells, a front of eight sizes for each metric; the found cell is the first."""
    falling = -np.cumsum(np.abs(random.normal(0.05, 0.03, 10))).round(4)
    top = [_cell(-12 + fall, 180_000 + int(random.integers(0, 9_000))) for fall in falling]
    front = [
        _cell(top[0]["log_probability"] - 0.4 * step**1.5, 180_000 - 17_000 * step)
        for step in range(8)
    ]
    return {
        "version": 1,
        "limits": limits or {},
        "chosen": top[0],
        "top": top,
        "pareto": {"parameters": front, "multiply_adds": front},
    }


def _cell(log_probability: float, parameters: int) -> dict[str, Any]:
    return {
        "log_probability": float(log_probability),
        "costs": {"parameters": parameters, "multiply_adds": 160 * parameters},
        "within_limits": True,
    }
