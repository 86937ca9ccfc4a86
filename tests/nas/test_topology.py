"""Eqs. (5)-(7) and (11)-(13), and the alternatives of the paper's ablation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.nas.topology import (
    EdgeCombinations,
    EdgeSigmoid,
    EdgeSoftmax,
    Topology,
    entropy,
    make_topology,
    membership,
)
from dots.space.edge_combinations import EdgeChoice, combinations
from dots.space.search_space import darts_space, nasbench201_space

CHOICES: list[EdgeChoice] = ["pairs", "any", 1, 3]


@pytest.mark.parametrize("n", range(2, 9))
def test_pairs_are_equation_5(n: int) -> None:
    assert combinations(n, "pairs") == tuple(itertools.combinations(range(n), 2))
    assert len(combinations(n, "pairs")) == math.comb(n, 2)


@pytest.mark.parametrize("n", range(1, 9))
def test_any_holds_every_non_empty_subset_once(n: int) -> None:
    table = combinations(n, "any")
    every = {c for k in range(1, n + 1) for c in itertools.combinations(range(n), k)}
    assert set(table) == every
    assert len(table) == 2**n - 1  # Eq. 13


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("k", range(1, 9))
def test_k_of_n(n: int, k: int) -> None:
    assert combinations(n, k) == tuple(itertools.combinations(range(n), min(k, n)))


def test_the_binary_codes_of_equation_11() -> None:
    assert combinations(3, "any") == ((0,), (1,), (0, 1), (2,), (0, 2), (1, 2), (0, 1, 2))


@pytest.mark.parametrize("edges", CHOICES)
@pytest.mark.parametrize("n", range(1, 9))
def test_membership_agrees_with_the_combinations(n: int, edges: EdgeChoice) -> None:
    for normalise in (True, False):
        table = membership(n, edges, normalise=normalise)
        for row, chosen in zip(table.tolist(), combinations(n, edges), strict=True):
            share = 1 / len(chosen) if normalise else 1.0
            assert row == pytest.approx([share if e in chosen else 0.0 for e in range(n)])


def test_the_table_of_twelve_edges_is_built() -> None:
    assert membership(12, "any", normalise=True).shape == (4095, 12)


def test_beta_has_the_lengths_of_the_specification() -> None:
    pairs = EdgeCombinations(darts_space(), "pairs", normalise=True)
    assert [len(beta) for _, beta in pairs.nodes("normal")] == [1, 3, 6, 10]
    every = EdgeCombinations(darts_space(), "any", normalise=True)
    assert [len(beta) for _, beta in every.nodes("reduce")] == [3, 7, 15, 31]
    assert all(not beta.detach().any() for beta in every.parameters())


def _randomise(topology: Topology, seed: int, scale: float = 3.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for beta in topology.parameters():
            beta.copy_(scale * torch.randn(beta.shape, generator=generator))


def test_gamma_of_a_hand_computed_node() -> None:
    """Three incoming edges, pairs 01, 02, 12 with probabilities 1/6, 2/6, 3/6 (Eqs. 6, 7)."""
    topology = EdgeCombinations(darts_space(nodes=2), "pairs", normalise=True)
    with torch.no_grad():
        beta = dict(topology.nodes("normal"))[1]
        beta.copy_(2.5 * torch.tensor([1.0, 2.0, 3.0]).log())
    gamma = topology.edge_weights(2.5)["normal"]
    expected = [0.5, 0.5, (1 / 6 + 2 / 6) / 2, (1 / 6 + 3 / 6) / 2, (2 / 6 + 3 / 6) / 2]
    torch.testing.assert_close(gamma, torch.tensor(expected))


def test_gamma_of_the_release_is_not_divided() -> None:
    topology = EdgeCombinations(darts_space(), "pairs", normalise=False)
    _randomise(topology, 1)
    gamma = topology.edge_weights(1.0)["normal"]
    for incoming in darts_space().cell.incoming:
        assert float(gamma[list(incoming)].sum().detach()) == pytest.approx(2, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(CHOICES),
    st.integers(0, 1000),
    st.floats(0.02, 10),
    st.sampled_from([darts_space(), darts_space(nodes=6), nasbench201_space()]),
)
def test_gamma_sums_to_one_at_every_node(
    edges: EdgeChoice, seed: int, temperature: float, space: object
) -> None:
    topology = EdgeCombinations(space, edges, normalise=True)  # type: ignore[arg-type]
    _randomise(topology, seed)
    for gamma in topology.edge_weights(temperature).values():
        for incoming in topology.cell.incoming:
            assert float(gamma[list(incoming)].sum().detach()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("edges", CHOICES)
def test_a_cold_topology_is_the_combination_that_it_keeps(edges: EdgeChoice) -> None:
    topology = EdgeCombinations(darts_space(), edges, normalise=True)
    _randomise(topology, 7)
    kept = topology.kept_edges(1.0)
    for kind, gamma in topology.edge_weights(1e-4).items():
        heavy = tuple((gamma > 1e-6).nonzero().flatten().tolist())
        assert heavy == kept[kind]


def test_kept_edges_follow_the_argmax() -> None:
    space = darts_space()
    topology = EdgeCombinations(space, 3, normalise=True)
    with torch.no_grad():
        dict(topology.nodes("normal"))[3][4] = 1.0
    expected = list(itertools.combinations(range(5), 3))[4]
    kept = topology.kept_edges(1.0)["normal"]
    assert [e - 9 for e in kept if e >= 9] == list(expected)


def test_gamma_passes_the_gradient_check() -> None:
    topology = EdgeCombinations(darts_space(), "any", normalise=True).double()
    _randomise(topology, 3)
    beta = dict(topology.nodes("normal"))[2].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda b: topology.node_edge_weights(2, b, 0.7), (beta,))


def test_edge_softmax_keeps_the_heaviest() -> None:
    topology = EdgeSoftmax(darts_space(), keep=2)
    with torch.no_grad():
        dict(topology.nodes("normal"))[3].copy_(torch.tensor([0.1, 0.9, 0.2, 0.8, 0.3]))
    assert topology.kept_edges(1.0)["normal"][-2:] == (10, 12)
    gamma = topology.edge_weights(1.0)["normal"]
    torch.testing.assert_close(gamma[9:], torch.softmax(torch.tensor([0.1, 0.9, 0.2, 0.8, 0.3]), 0))


def test_edge_sigmoid_keeps_what_is_above_the_threshold_or_the_best() -> None:
    topology = EdgeSigmoid(darts_space(nodes=2), threshold=0.5)
    with torch.no_grad():
        nodes = dict(topology.nodes("normal"))
        nodes[0].copy_(torch.tensor([1.0, 2.0]))
        nodes[1].copy_(torch.tensor([-3.0, -1.0, -2.0]))
    assert topology.kept_edges(1.0)["normal"] == (0, 1, 3)
    gamma = topology.edge_weights(2.0)["normal"]
    torch.testing.assert_close(gamma[:2], torch.sigmoid(torch.tensor([0.5, 1.0])))


def test_the_threshold_is_applied_at_the_last_temperature() -> None:
    """σ(0.1) = 0.52 is below 0.6; γ of the annealed search, σ(0.1 / 0.02) = 0.993, is not."""
    topology = EdgeSigmoid(darts_space(nodes=1), threshold=0.6)
    with torch.no_grad():
        for _, beta in topology.nodes("normal"):
            beta.copy_(torch.tensor([0.1, 0.2]))
    assert topology.kept_edges(0.02)["normal"] == (0, 1)
    assert float(topology.edge_weights(0.02)["normal"][0].detach()) == pytest.approx(
        0.99331, abs=1e-5
    )
    assert topology.kept_edges(1.0)["normal"] == (1,)


def test_make_topology_knows_the_three() -> None:
    made = [
        make_topology(
            darts_space(), parameterisation=name, edges="pairs", normalise=True, threshold=0.5
        )
        for name in ("combinations", "edges", "sigmoid")
    ]
    assert [type(topology) for topology in made] == [EdgeCombinations, EdgeSoftmax, EdgeSigmoid]


def test_entropy_tells_undecided_from_decided() -> None:
    assert entropy({"normal": [[0.5, 0.5], [0.25] * 4]}) == pytest.approx(1)
    assert entropy({"normal": [[1.0, 0.0], [1.0]]}) == pytest.approx(0)
