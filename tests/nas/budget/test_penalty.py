"""The expected cost is the cost where nothing is left to chance, and a mean where it is."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from dots.nas.budget.cost_table import counted_tables
from dots.nas.budget.penalty import (
    CostPenalty,
    cost_tensors,
    expected_cost,
    kept_probabilities,
    over_target,
    uniform_kept,
)
from dots.nas.topology import make_topology
from dots.networks.body import Shape
from dots.networks.supernet import Mixture
from dots.space.discretise import build_genotype
from dots.space.edge_combinations import combinations
from dots.space.search_space import darts_space

SPACE = darts_space(2)
CANDIDATES = {
    kind: tuple(
        ("none", "sep_conv_3x3") if edge % 2 else ("max_pool_3x3", "skip_connect", "dil_conv_5x5")
        for edge in range(len(SPACE.cell.edges))
    )
    for kind in SPACE.kinds
}
PARAMETERS, _ = counted_tables(SPACE, Shape(4, 8, 3, 10), 16)
TENSORS = cost_tensors(SPACE, CANDIDATES, PARAMETERS)


def test_one_hot_weights_give_the_cost_of_the_network() -> None:
    edges = len(SPACE.cell.edges)
    kept = {kind: torch.tensor([1.0, 1, 0, 1, 1]) for kind in SPACE.kinds}
    weights = torch.zeros(edges, 4)
    weights[:, 1] = 1.0
    mixtures = {kind: Mixture(weights) for kind in SPACE.kinds}
    chosen = {kind: {e: (CANDIDATES[kind][e][1],) for e in (0, 1, 3, 4)} for kind in SPACE.kinds}
    expected = expected_cost(mixtures, TENSORS, kept, PARAMETERS.fixed)
    assert expected.item() == PARAMETERS.total(build_genotype(SPACE, chosen))


def test_it_is_the_mean_over_cells_and_has_gradients() -> None:
    torch.manual_seed(0)
    topology = make_topology(
        SPACE, parameterisation="combinations", edges="any", normalise=True, threshold=0.5
    )
    for parameter in topology.parameters():
        parameter.data.normal_()
    alpha = torch.randn(len(SPACE.cell.edges), 3, requires_grad=True)
    mask = torch.tensor([[i < len(n) for i in range(3)] for n in CANDIDATES["normal"]])
    weights = alpha.masked_fill(~mask, -torch.inf).softmax(1)
    mixtures = {kind: Mixture(weights) for kind in SPACE.kinds}
    kept = kept_probabilities(topology, 1.0)
    expected = expected_cost(mixtures, TENSORS, kept)
    mean = 0.0
    for kind in SPACE.kinds:
        per_edge = (weights * TENSORS[kind]).sum(1)
        tables = [combinations(len(i), "any") for i in SPACE.cell.incoming]
        ps = [topology.node_probabilities(b, 1.0) for _, b in topology.nodes(kind)]
        for picked in product(*(range(len(t)) for t in tables)):
            p, cost = torch.tensor(1.0), torch.tensor(0.0)
            for node, c in enumerate(picked):
                p = p * ps[node][c]
                for position in tables[node][c]:
                    cost = cost + per_edge[SPACE.cell.incoming[node][position]]
            mean += (p * cost).item()
    assert expected.item() == pytest.approx(mean, rel=1e-5)
    expected.backward()
    assert alpha.grad is not None
    assert alpha.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in topology.parameters())


def test_edges_of_the_mixture_weigh_where_nothing_is_said() -> None:
    ones = torch.ones(5, 3)
    whole = expected_cost({k: Mixture(ones) for k in SPACE.kinds}, TENSORS)
    half = expected_cost({k: Mixture(ones, torch.full((5,), 0.5)) for k in SPACE.kinds}, TENSORS)
    assert whole.item() == sum(t.sum() for t in TENSORS.values()) == 2 * half.item()


def test_kept_probabilities_of_the_ablations() -> None:
    for parameterisation, expected in (("edges", 2 / 3), ("sigmoid", 0.5)):
        topology = make_topology(
            SPACE, parameterisation=parameterisation, edges=2, normalise=True, threshold=0.5
        )
        kept = kept_probabilities(topology, 2.0)["normal"]
        assert kept[2:].tolist() == pytest.approx([expected] * 3)
    assert uniform_kept(SPACE, "pairs")["reduce"].tolist() == pytest.approx([1, 1, *[2 / 3] * 3])
    assert uniform_kept(SPACE, "any")["normal"].tolist() == pytest.approx([2 / 3] * 2 + [4 / 7] * 3)


def test_being_below_the_target_is_free() -> None:
    assert over_target(torch.tensor(90.0), 100).item() == 0
    assert over_target(torch.tensor(150.0), 100).item() == 0.5


def test_a_penalty_is_the_weighed_excess_by_hand() -> None:
    table = counted_tables(SPACE, Shape(4, 8, 3, 10), 16)[0]
    names = dict.fromkeys(SPACE.kinds, (("none", "skip_connect", "sep_conv_3x3"),) * 5)
    kept = uniform_kept(SPACE, "pairs")
    limit = table.fixed + 100
    penalty = CostPenalty(SPACE, [table], {"parameters": limit}, 0.5, kept)
    weights = {kind: torch.tensor([[0.5, 0.25, 0.25]] * 5) for kind in SPACE.kinds}
    by_hand = table.fixed
    for kind in SPACE.kinds:
        for edge, (source, _) in enumerate(SPACE.cell.edges):
            skip, conv = (table.edge(kind, op, source) for op in ("skip_connect", "sep_conv_3x3"))
            by_hand += float(kept[kind][edge]) * (skip + conv) / 2  # Zero is in no cell
    expected = penalty.expected(weights, names)["parameters"]
    assert float(expected) == pytest.approx(by_hand)
    assert float(penalty(weights, names)) == pytest.approx(0.5 * (by_hand - limit) / limit)


def test_a_penalty_pushes_towards_cheap_operations_and_not_to_zero() -> None:
    table = counted_tables(SPACE, Shape(4, 8, 3, 10), 16)[0]
    names = dict.fromkeys(SPACE.kinds, (("none", "skip_connect", "sep_conv_3x3"),) * 5)
    penalty = CostPenalty(
        SPACE, [table], {"parameters": table.fixed}, 1.0, uniform_kept(SPACE, "pairs")
    )
    alpha = torch.zeros(5, 3, requires_grad=True)
    penalty(dict.fromkeys(SPACE.kinds, alpha.softmax(1)), names).backward()
    assert alpha.grad is not None
    assert bool((alpha.grad[:, 1] < 0).all())  # skips become more probable
    assert bool((alpha.grad[:, 2] > 0).all())
    torch.testing.assert_close(alpha.grad[:, 0], torch.zeros(5), atol=1e-7, rtol=0)


def test_within_the_limit_a_penalty_is_silent() -> None:
    table = counted_tables(SPACE, Shape(4, 8, 3, 10), 16)[0]
    names = dict.fromkeys(SPACE.kinds, (("skip_connect", "sep_conv_3x3"),) * 5)
    penalty = CostPenalty(SPACE, [table], {"parameters": 10**9}, 1.0, uniform_kept(SPACE, "pairs"))
    alpha = torch.zeros(5, 2, requires_grad=True)
    penalty(dict.fromkeys(SPACE.kinds, alpha.softmax(1)), names).backward()
    assert alpha.grad is not None
    assert not alpha.grad.any()
