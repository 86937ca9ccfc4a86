"""Counts all published networks again: `python -m scripts.recount_zoo` writes counts.json."""

from __future__ import annotations

import json
from pathlib import Path

from dots import zoo
from dots.common.files import write_text
from dots.networks.reference import REFERENCES, reference_cost
from dots.networks.skeletons import published_cost
from dots.zoo import load, names
from dots.zoo.sizes import published_sizes

Table = dict[str, dict[str, tuple[int, int]]]
"""By name and data set: parameters and multiply-adds."""


def recount_cell(name: str) -> dict[str, tuple[int, int]]:
    """Parameters and multiply-adds of the cell `name` at each of its published sizes."""
    genotype = load(name).genotype
    costs = {size.data: published_cost(genotype, size) for size in published_sizes(name)}
    return {data: (cost.parameters, cost.multiply_adds) for data, cost in costs.items()}


def recount_reference(name: str) -> dict[str, tuple[int, int]]:
    """The same of a reference network, on the data of its paper."""
    small = REFERENCES[name].image_size == 32
    sizes = {"cifar10": (10, 32), "cifar100": (100, 32)} if small else {"imagenet": (1000, 224)}
    costs = {
        data: reference_cost(name, classes, 3, side) for data, (classes, side) in sizes.items()
    }
    return {data: (cost.parameters, cost.multiply_adds) for data, cost in costs.items()}


def recount() -> dict[str, Table]:
    """All of them, as counts.json holds them."""
    return {
        "cells": {name: recount_cell(name) for name in names()},
        "references": {name: recount_reference(name) for name in REFERENCES},
    }


def to_text(table: dict[str, Table]) -> str:
    """counts.json: a network per line."""
    parts = []
    for kind, rows in table.items():
        lines = ",\n".join(f'    "{name}": {json.dumps(row)}' for name, row in rows.items())
        parts.append(f'  "{kind}": {{\n{lines}\n  }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    write_text(Path(zoo.__file__).parent / "counts.json", to_text(recount()))
