"""Ratings of topologies against definitions written out, and the family of 21."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.nas.topology import EdgeCombinations, EdgeSigmoid, EdgeSoftmax, make_topology
from dots.space.edge_combinations import combinations, node_choices
from dots.space.search_space import SearchSpace, darts_space, nasbench201_space
from dots.study.ratings import (
    all_topologies,
    edge_count,
    importance,
    rate,
    rating_by,
    rating_of_search,
)
from dots.zoo.nasbench201 import all_strings, from_string

SPACE = nasbench201_space()


def sources(space: SearchSpace) -> list[tuple[tuple[int, ...], ...]]:
    """The sources that each topology of the benchmark keeps at each node."""
    found = []
    for text in all_strings():
        if not set(re.findall("[a-z_0-9]+(?=~)", text)) <= {"none", "nor_conv_3x3"}:
            continue
        nodes = from_string(text).cells["normal"].nodes
        if all(nodes):
            found.append(tuple(tuple(sorted(edge.source for edge in node)) for node in nodes))
    return found


def test_all_topologies_are_the_benchmark_s_21() -> None:
    ours = all_topologies(SPACE)
    assert len(ours) == 21
    assert set(ours) == set(sources(SPACE))
    assert len(all_topologies(darts_space(nodes=2))) == 3 * 7


def test_importance_is_the_largest_weight_but_zero_s() -> None:
    row = [0.9, 0.1, 0.3, 0.2, 0.25]  # "none" comes first
    assert importance(SPACE, {"normal": [row] * 6}, "normal") == [0.3] * 6


def raw(topology: EdgeCombinations | EdgeSoftmax | EdgeSigmoid, seed: int) -> list[list[float]]:
    """Random raw parameters, also put into the topology."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for beta in topology.parameters():
            beta.copy_(torch.randn(beta.shape, generator=generator))
    return [beta.tolist() for _, beta in topology.nodes("normal")]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([0.02, 1.0, 10.0]))
def test_joint_probability_is_the_product_over_nodes_and_sums_to_one(
    seed: int, temperature: float
) -> None:
    topology = EdgeCombinations(SPACE, "any", normalise=True)
    rating = rating_by(SPACE, topology.choices, raw(topology, seed), temperature)
    rated = {t: rate(rating, t) for t in all_topologies(SPACE)}
    assert math.fsum(math.exp(value) for value in rated.values()) == pytest.approx(1)
    tables = topology.probabilities(temperature)["normal"]
    for kept, value in rated.items():
        expected = 1.0
        for node, combination in enumerate(kept):
            table = combinations(node + 1, "any")
            expected *= tables[node][table.index(combination)]
        assert math.exp(value) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_temperature_changes_no_order(seed: int) -> None:
    topology = EdgeCombinations(SPACE, "any", normalise=True)
    beta = raw(topology, seed)
    orders = []
    for temperature in (0.02, 1.0, 10.0):
        rating = rating_by(SPACE, topology.choices, beta, temperature)
        orders.append(sorted(all_topologies(SPACE), key=lambda t: rate(rating, t)))
    assert all(one == other for one, other in pairwise(orders))


def test_edge_weights_sum_to_the_number_of_nodes_where_all_are_kept() -> None:
    beta = raw(EdgeSoftmax(SPACE, 2), 0)
    rating = rating_by(SPACE, node_choices("edges"), beta, 0.5)
    everything = max(all_topologies(SPACE), key=lambda t: sum(map(len, t)))
    assert rate(rating, everything) == pytest.approx(3)
    weights = torch.softmax(torch.tensor(beta[2], dtype=torch.float64) / 0.5, 0)
    assert rating(2, (0, 2)) == pytest.approx(float(weights[0] + weights[2]))


def test_sigmoid_probabilities_of_all_subsets_sum_to_one_minus_none() -> None:
    beta = raw(EdgeSigmoid(SPACE, 0.5), 0)
    rating = rating_by(SPACE, node_choices("sigmoid"), beta, 0.7)
    total = math.fsum(math.exp(rating(2, kept)) for kept in combinations(3, "any"))
    empty = math.prod(1 - 1 / (1 + math.exp(-value / 0.7)) for value in beta[2])
    assert total == pytest.approx(1 - empty)


def test_extreme_parameters_stay_finite() -> None:
    beta = [[0.0], [50.0, -50.0], [50.0, 0.0, -50.0]]
    for name in ("sigmoid", "edges"):
        rating = rating_by(SPACE, node_choices(name), beta, 0.02)
        assert all(math.isfinite(rate(rating, t)) for t in all_topologies(SPACE))


def test_the_number_of_edges_is_just_that() -> None:
    assert sorted({rate(edge_count, t) for t in all_topologies(SPACE)}) == [3, 4, 5, 6]


@pytest.mark.parametrize("parameterisation", ["combinations", "edges", "sigmoid"])
def test_what_a_search_keeps_is_rated_best(parameterisation: str) -> None:
    edges = "pairs" if parameterisation == "edges" else "any"
    topology = make_topology(
        SPACE, parameterisation=parameterisation, edges=edges, normalise=True, threshold=0.5
    )
    beta = raw(topology, 3)  # type: ignore[arg-type] # one of the three
    record = {
        "parameterisation": parameterisation,
        "edges": edges,
        "temperature": 0.02,
        "beta": {"normal": beta},
    }
    rating = rating_of_search(SPACE, record, "normal")
    kept = topology.kept_edges(1.0)["normal"]
    own = tuple(
        tuple(place for place, edge in enumerate(incoming) if edge in kept)
        for incoming in SPACE.cell.incoming
    )
    same = [
        t for t in all_topologies(SPACE)
        if parameterisation != "edges" or list(map(len, t)) == list(map(len, own))
    ]  # fmt: skip
    assert max(same, key=lambda t: rate(rating, t)) == own
