from __future__ import annotations

import copy
from typing import Any

import pytest

from dots.common.errors import UserError
from dots.export.layers import INPUT, Layer, LayerList
from dots.export.package import names_of
from dots.export.record import record
from dots.export.tidy import copied, homed, joined_sums, needed
from helpers import exported_run


@pytest.fixture(scope="module")
def layers() -> LayerList:
    network = exported_run.network()
    return record(network, (3, 12, 12), names_of(network))


def test_a_list_survives_json(layers: LayerList) -> None:
    assert LayerList.from_json(layers.to_json(), "here") == layers


def test_a_value_comes_before_it_is_taken_and_every_one_is_taken(layers: LayerList) -> None:
    uses = layers.uses()
    assert [name for name, count in uses.items() if count == 0] == [layers.output]
    assert layers.shapes()[layers.output] == (10,)


def test_parts_are_whole(layers: LayerList) -> None:
    parts = [layer.part for layer in layers.layers]
    blocks = [part for n, part in enumerate(parts) if n == 0 or parts[n - 1] != part]
    assert blocks == ["stem", "cells.0", "cells.1", "cells.2", "head"]


def damaged(layers: LayerList, change: str) -> Any:
    value = copy.deepcopy(layers.to_json())
    first = value["layers"][0]
    match change:
        case "kind":
            first["kind"] = "exec"
        case "order":
            value["layers"].reverse()
        case "twice":
            value["layers"].insert(0, first)
        case "missing":
            del first["inputs"]
        case "input":
            value["input"] = [3, 12]
        case "empty":
            value["layers"] = []
        case "type":
            value = [1]
    return value


@pytest.mark.parametrize("change", ["kind", "order", "twice", "missing", "input", "empty", "type"])
def test_damaged_lists_are_refused(layers: LayerList, change: str) -> None:
    with pytest.raises(UserError, match="here"):
        LayerList.from_json(damaged(layers, change), "here")


def layer(name: str, kind: str, *inputs: str, part: str = "a") -> Layer:
    return Layer(name, kind, inputs, (1,), part=part)  # type: ignore[arg-type]


def test_sums_of_sums_become_one() -> None:
    chain = [layer("s", "add", INPUT, "x"), layer("t", "add", "s", "y"), layer("o", "relu", "t")]
    assert [(each.name, each.inputs) for each in joined_sums(chain)] == [
        ("t", (INPUT, "x", "y")),
        ("o", ("t",)),
    ]


def test_a_sum_that_is_used_twice_stays() -> None:
    chain = [layer("s", "add", INPUT, "x"), layer("t", "add", "s", "s")]
    assert joined_sums(chain) == chain


def test_what_joins_a_part_belongs_to_it() -> None:
    chain = [
        layer("x", "relu", INPUT),
        layer("y", "relu", "x"),
        layer("c", "concat", "x", "y", part="b"),
        layer("d", "concat", "x", "y", part="c"),
        layer("e", "add", "c", "d", part="c"),
    ]
    found = homed(chain)
    assert [(each.name, each.part) for each in found] == [
        ("x", "a"), ("y", "a"), ("a.concat", "a"), ("e", "c"),
    ]  # fmt: skip
    assert found[-1].inputs == ("a.concat", "a.concat")


def test_an_activation_is_where_it_is_used() -> None:
    chain = [
        layer("x", "conv", INPUT),
        layer("r", "relu", "x"),
        layer("p", "slice", "r"),
        layer("y", "conv", "p", part="b"),
    ]
    found = needed(copied(chain))
    assert [each.part for each in found] == ["a", "b", "b", "b"]
    assert [each.kind for each in found] == ["conv", "relu", "slice", "conv"]
