"""The latency table: measured, kept, refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.nas.budget.cost_table import places
from dots.nas.budget.distribution import architecture_distribution
from dots.nas.budget.latency import LatencyTable, measure_latencies
from dots.nas.budget.most_probable import derive_within
from dots.networks.body import Shape
from dots.space.search_space import darts_space

SPACE = darts_space(2, ("none", "skip_connect", "sep_conv_3x3"))
SHAPE = Shape(3, 4, 1, 3)


@pytest.fixture(scope="module")
def measured() -> LatencyTable:
    return measure_latencies(SPACE, SHAPE, 8, repeats=2)


def test_every_operation_is_measured_at_every_place(measured: LatencyTable) -> None:
    found = {place for row in places(SPACE, SHAPE, 8).values() for place in row}
    assert set(measured.operations) == {
        (op, place) for op in ("skip_connect", "sep_conv_3x3") for place in found
    }
    assert all(value > 0 for value in measured.operations.values())
    assert measured.device["type"] == "cpu"


def test_it_survives_a_file_and_gives_costs(measured: LatencyTable, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    measured.save(path)
    again = LatencyTable.load(path)
    assert again == measured
    table = again.costs(SPACE, SHAPE, 8)
    first, *others = places(SPACE, SHAPE, 8)["reduce", True]
    assert table.edge("reduce", "sep_conv_3x3", 1) == sum(
        measured.operations["sep_conv_3x3", place] for place in (first, *others)
    )
    assert table.fixed == measured.rest


def test_the_most_probable_cell_within_a_latency(measured: LatencyTable) -> None:
    """With made-up latencies: a separable convolution takes a thousand times a skip's time."""
    operations = {
        (op, place): 1000 if op == "sep_conv_3x3" else 1 for op, place in measured.operations
    }
    table = replace(measured, operations=operations, rest=0).costs(SPACE, SHAPE, 8)
    candidates = dict.fromkeys(SPACE.kinds, (("skip_connect", "sep_conv_3x3"),) * 5)
    beta = {kind: [[0.0], [0.0, 1.0, 0.0]] for kind in SPACE.kinds}
    alpha = {"normal": [[0.0, 1.0]] * 5, "reduce": [[0.0, 2.0]] * 5}
    distribution = architecture_distribution(SPACE, candidates, beta, alpha)
    free = derive_within(distribution, [table], {"nanoseconds": 10**6})
    assert free.genotype.skips("normal") == free.genotype.skips("reduce") == 0
    # four edges a cell, one normal and two reduction cells
    assert free.costs == {"nanoseconds": 12_000}
    tight = derive_within(distribution, [table], {"nanoseconds": 11_001})
    assert (tight.genotype.skips("normal"), tight.genotype.skips("reduce")) == (1, 0)


def test_other_networks_and_missing_operations_are_refused(measured: LatencyTable) -> None:
    with pytest.raises(UserError, match="dots profile again"):
        measured.costs(SPACE, replace(SHAPE, channels=8), 8)
    place = next(iter(measured.operations))[1]
    lacking = {key: v for key, v in measured.operations.items() if key != ("skip_connect", place)}
    with pytest.raises(UserError, match="the latency table has no skip_connect"):
        replace(measured, operations=lacking).costs(SPACE, SHAPE, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"operations": [{"operation": "skip_connect"}]},
        {"rest_nanoseconds": -1},
        {"batch": True},
        {"shape": {"cells": 3}},
        {"device": 3},
    ],
)
def test_a_damaged_table_is_one_line(
    measured: LatencyTable, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "latency.json"
    measured.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="no latency table") as caught:
        LatencyTable.load(path)
    assert "\n" not in str(caught.value)
