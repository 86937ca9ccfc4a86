"""Our counts of the published networks, kept as data: counting all takes minutes.

`counts.json` beside this file is written by `python -m scripts.recount_zoo`; the tests count
again and compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dots.common.files import parse_json
from dots.zoo.sizes import PublishedSize, published_sizes

Counts = Mapping[str, "Count"]
"""By data set: "cifar10", "cifar100", "imagenet"."""


@dataclass(frozen=True)
class Count:
    """Parameters, and multiply-adds of one image, of one network.

    `size` is the published size of a cell's network; None for a reference network.
    """

    parameters: int
    multiply_adds: int
    size: PublishedSize | None


def counts(name: str) -> Counts:
    """What we count for the zoo's cell `name` at its published sizes."""
    table = _table()["cells"][name]
    return {
        size.data: Count(*table[size.data], size)
        for size in published_sizes(name)
        if size.data in table
    }


def reference_counts(name: str) -> Counts:
    """What we count for the reference network `name` on the data of its paper."""
    table = _table()["references"][name]
    return {data: Count(*pair, None) for data, pair in table.items()}


@cache
def _table() -> Mapping[str, Mapping[str, Mapping[str, tuple[int, int]]]]:
    text = (files("dots.zoo") / "counts.json").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, Mapping[str, tuple[int, int]]]] = parse_json(
        text, what="counts", where="the zoo"
    )
    return table
