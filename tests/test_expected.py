"""The expected cost is the cost where nothing is left to chance, and a mean where it is."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from dots.additive import counted_tables
from dots.derive import build_genotype
from dots.expected import cost_tensors, expected_cost, kept_probabilities, over_target, uniform_kept
from dots.network import Shape
from dots.space import darts_space
from dots.supernet import Mixture
from dots.topology import combinations, make_topology

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
