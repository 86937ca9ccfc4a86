"""How numbers and names are written for a reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from dots.common.text import plain

NONE = "–"
STAGES = {
    "operations": "Operation search",
    "operations-perturbation": "Selection of operations",
    "topology": "Topology search",
    "topology-perturbation": "Selection of edges",
    "halving": "Successive halving",
    "train": "Training the found cell",
    "train-random": "Training the random cell",
    "train-darts-policy": "Training the DARTS-policy cell",
    "train-published": "Training the published cell",
    "train-plain": "Training the plain network",
}
CELLS = {
    "found": "Found cell",
    "searched": "Searched cell",
    "random": "Random cell",
    "darts-policy": "DARTS-policy cell",
    "published": "Published cell, trained longer",
    "plain": "Plain network",
}
BASELINES = ("random", "darts-policy", "published", "plain")
_OPERATIONS = {
    "none": "zero",
    "skip_connect": "skip",
    "max_pool": "max",
    "avg_pool": "avg",
    "sep_conv": "sep",
    "dil_conv": "dil",
    "nor_conv": "conv",
}
_PRINTED_NAME = 60


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as a percentage: 0.9751 -> "97.51 %"."""
    return NONE if fraction is None else in_percent(100 * fraction, digits)


def in_percent(value: float | None, digits: int = 2) -> str:
    """A number of percents: 97.51 -> "97.51 %"."""
    text = fixed(value, digits)
    return text if text == NONE else f"{text} %"


def fixed(value: float | None, digits: int) -> str:
    """A number with so many digits after the point."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def mean_and_deviation(values: Sequence[float], signed: bool = False) -> str:
    """Mean ± standard deviation (n - 1) in percent; of one value, that value."""
    if not values:
        return NONE
    centre = f"{100 * mean(values):+.2f}" if signed else f"{100 * mean(values):.2f}"
    centre = centre.replace("-", "−")
    unit = "points" if signed else "%"
    if len(values) < 2:
        return f"{centre} {unit}"
    return f"{centre} ± {fixed(100 * stdev(values), 2)} {unit}"


def points(difference: float, digits: int = 2) -> str:
    """A difference of two fractions in percentage points, signed: "+0.30 points"."""
    rounded = round(100 * difference, digits)
    if rounded == 0:
        return "±0 points"
    return f"{rounded:+.{digits}f} points".replace("-", "−")


def amount(count: float | None) -> str:
    """A count with its unit: 3526000 -> "3.526 M", 812 -> "812"."""
    if count is None or not math.isfinite(count):
        return NONE
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{_significant(count / size)} {unit}"
    return f"{count:g}"


def _significant(value: float) -> str:
    digits = max(0, 4 - len(str(int(abs(value)))))
    return f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """A time span: 134 -> "2 min 14 s"; tenths below ten seconds."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def weight(value: float | None) -> str:
    """A weight or probability between 0 and 1 with two digits."""
    return fixed(value, 2)


def number(value: object) -> str:
    """A setting or a measured number, as short as it can be without losing meaning."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(number(item) for item in value) or NONE
    return visible(str(value), limit=400)


def visible(text: str, limit: int = _PRINTED_NAME) -> str:
    """A name with control characters written out (`plain`) and a length that fits a table."""
    shown = plain(text)
    if len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    return shown or "(empty)"


def stage_name(stage: str) -> str:
    """A stage of a run in words."""
    if stage in STAGES:
        return STAGES[stage]
    own = stage.removeprefix("train-")
    return f"Training {own}" if own != stage else visible(stage)


def cell_name(key: str) -> str:
    """The cell that a result belongs to, in words."""
    return CELLS.get(key, key)


def kind_name(kind: str) -> str:
    """A cell kind in words: "reduce" -> "reduction"."""
    return "reduction" if kind == "reduce" else visible(kind)


def on_edges(numbers: Sequence[str], kind: str) -> str:
    """Edges of a cell at the head of a sentence: "On edges 1, 2 of the normal cell"."""
    word = "edge" if len(numbers) == 1 else "edges"
    return f"On {word} {', '.join(numbers)} of the {kind_name(kind)} cell"


def operation(name: str) -> str:
    """A short label: "sep_conv_3x3" -> "sep 3×3"; an unknown operation keeps its name."""
    if name in _OPERATIONS:
        return _OPERATIONS[name]
    for prefix, short in _OPERATIONS.items():
        if name.startswith(prefix + "_"):
            return f"{short} {name[len(prefix) + 1 :].replace('x', '×')}"
    return visible(name.replace("_", " "), limit=16)


def node(index: int, inputs: int) -> str:
    """A node of a cell as drawings name it: "k−2" for an input, "0" for the first other."""
    return str(index - inputs) if index >= inputs else f"k−{inputs - index}"
