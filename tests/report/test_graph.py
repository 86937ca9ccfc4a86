"""The columns of β stand for what the topology search says they do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dots.report.graph import column_names, margin, relative_entropy
from dots.space.edge_combinations import EdgeChoice, combinations, node_choices
from dots.space.search_space import CellSpec

SPEC = CellSpec(inputs=2, nodes=5, output="concat")


@pytest.mark.parametrize("edges", ["pairs", "any", 1, 2, 3, 7])
@pytest.mark.parametrize("node", range(5))
def test_columns_are_those_of_the_topology_search(edges: EdgeChoice, node: int) -> None:
    choices = node_choices("combinations", edges)
    kept = combinations(len(SPEC.incoming[node]), edges)
    sources = ("k−2", "k−1", "0", "1", "2", "3")
    expected = ["{" + ", ".join(sources[e] for e in c) + "}" for c in kept]
    assert column_names(SPEC, node, choices, len(expected)) == expected
    assert column_names(SPEC, node, choices, len(expected) + 1) is None


@pytest.mark.parametrize("parameterisation", ["edges", "sigmoid"])
def test_edge_weights_stand_for_single_edges(parameterisation: str) -> None:
    choices = node_choices(parameterisation, "pairs")
    assert column_names(SPEC, 1, choices, 3) == ["{k−2}", "{k−1}", "{0}"]
    assert column_names(SPEC, 1, choices, 4) is None


def test_entropy_of_known_distributions() -> None:
    assert relative_entropy([0.25] * 4) == pytest.approx(1)
    assert relative_entropy([1, 0, 0]) == 0
    assert relative_entropy([1]) == 0
    assert relative_entropy([0.5, 0.5, 0, 0]) == pytest.approx(math.log(2) / math.log(4))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_margin_is_the_lead_of_the_first(values: list[float]) -> None:
    ordered = sorted(values)
    assert margin(values) == (ordered[-1] - ordered[-2] if len(values) > 1 else values[0])
