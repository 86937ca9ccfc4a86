"""FairDARTS: gates without competition, the zero-one loss, cells by threshold."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.nas.strategies.fair_darts import FairDarts, edges_above, zero_one_loss
from dots.space.search_space import ZERO, SearchSpace, darts_space, nasbench201_space
from helpers import searches, small

SPACE = darts_space(nodes=2, operations=(ZERO, "skip_connect", "sep_conv_3x3"))


def logit(gate: float) -> float:
    return math.log(gate / (1 - gate))


def with_gates(search: FairDarts, gates: list[list[float]]) -> FairDarts:
    """Every cell with these gates, [edges][operations but Zero]."""
    for alpha in search.alpha.values():
        alpha.data = torch.tensor([[logit(gate) for gate in row] for row in gates])
    return search


def test_zero_one_loss_is_the_mean_over_all_gates_of_all_cells() -> None:
    alphas = [torch.tensor([[0.3, -1.0]]), torch.tensor([[2.0, 0.0]])]
    gates = [1 / (1 + math.exp(-value)) for value in (0.3, -1.0, 2.0, 0.0)]
    expected = -sum((gate - 0.5) ** 2 for gate in gates) / 4
    assert float(zero_one_loss(alphas)) == pytest.approx(expected, abs=1e-7)
    assert float(zero_one_loss([torch.zeros(2, 3)])) == 0
    assert float(zero_one_loss([torch.tensor([-40.0, 40.0])])) == pytest.approx(-0.25)


def test_the_architecture_step_adds_omega_times_the_zero_one_gradient() -> None:
    gradients = {}
    for omega in (0.0, 10.0):
        search = searches.search(FairDarts, method={"zero_one_weight": omega})
        for alpha in search.alpha.values():
            alpha.data.fill_(0.7)
        search.architecture_step(small.batch())
        gradients[omega] = torch.cat([alpha.grad.flatten() for alpha in search.alpha.values()])
    gate = 1 / (1 + math.exp(-0.7))
    by_hand = -2 * (gate - 0.5) * gate * (1 - gate) / (2 * searches.EDGES * 7)
    difference = gradients[10.0] - gradients[0.0]
    assert torch.allclose(difference, torch.full_like(difference, 10 * by_hand), atol=1e-6)


def test_the_weight_step_knows_nothing_of_the_zero_one_loss() -> None:
    runs = [searches.search(FairDarts, method={"zero_one_weight": omega}) for omega in (0.0, 10.0)]
    for search in runs:
        search.weight_step(small.batch())
    first, second = (search.supernet.state_dict() for search in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("space", [darts_space(nodes=2), nasbench201_space()])
def test_zero_is_no_candidate_and_gates_start_at_a_half(space: SearchSpace) -> None:
    search = searches.search(FairDarts, space)
    for kind in space.kinds:
        assert all(ZERO not in names for names in search.supernet.candidates[kind])
        for row in search.scores()[kind]:
            named = dict(zip(space.operations, row, strict=True))
            assert named.pop(ZERO) == 0
            assert set(named.values()) == {0.5}


def test_sparse_keeps_the_best_operation_of_the_two_best_edges_above_the_threshold() -> None:
    gates = [
        [0.90, 0.95],  # input 0 -> node 2: the convolution
        [0.10, 0.84],  # input 1 -> node 2: below the threshold
        [0.86, 0.20],  # into node 3: third best, no longer among the two
        [0.87, 0.20],
        [0.20, 0.99],
    ]
    cell = with_gates(searches.search(FairDarts, SPACE), gates).derive().cells["normal"]
    found = [[(edge.op, edge.source) for edge in node] for node in cell.nodes]
    assert found == [[("sep_conv_3x3", 0)], [("skip_connect", 1), ("sep_conv_3x3", 2)]]


def test_a_node_without_a_gate_above_the_threshold_stays_isolated() -> None:
    gates = [[0.1, 0.2], [0.3, 0.1], [0.9, 0.1], [0.1, 0.1], [0.99, 0.1]]
    genotype = with_gates(searches.search(FairDarts, SPACE), gates).derive()
    cell = genotype.cells["normal"]
    assert cell.nodes[0] == ()
    assert cell.output(2) == (3,)  # the isolated node is left out
    genotype.check_buildable()


def test_edge_mode_keeps_up_to_two_operations_of_every_edge() -> None:
    gates = [[0.90, 0.95], [0.10, 0.84], [0.86, 0.20], [0.87, 0.20], [0.20, 0.99]]
    search = searches.search(FairDarts, SPACE, method={"derivation": "edge"})
    cell = with_gates(search, gates).derive().cells["normal"]
    found = [[(edge.op, edge.source) for edge in node] for node in cell.nodes]
    assert found == [
        [("sep_conv_3x3", 0), ("skip_connect", 0)],
        [("skip_connect", 0), ("skip_connect", 1), ("sep_conv_3x3", 2)],
    ]


@pytest.mark.parametrize("derivation", ["sparse", "edge"])
@pytest.mark.parametrize("space", [SPACE, nasbench201_space()])
def test_an_unfinished_search_still_gives_a_cell_that_can_be_built(
    space: SearchSpace, derivation: str
) -> None:
    search = searches.search(FairDarts, space, method={"derivation": derivation})
    generator = torch.Generator().manual_seed(1)
    for alpha in search.alpha.values():
        alpha.data = 0.1 * torch.randn(alpha.shape, generator=generator)
    genotype = search.derive()
    genotype.check_buildable()
    most = len(space.cell.edges) * (2 if derivation == "edge" else 1)
    assert 1 <= genotype.cells["normal"].edges < most  # no further than needed


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=5, max_size=5))
@settings(deadline=None)
def test_everything_above_the_threshold_is_kept_where_nothing_limits_it(
    rows: list[list[float]],
) -> None:
    chosen = edges_above(SPACE, rows, 0.5, edges=None, operations=8)
    kept = {(index, op) for index, names in chosen.items() for op in names}
    assert kept == {
        (index, op)
        for index, row in enumerate(rows)
        for op, gate in zip(SPACE.operations, row, strict=True)
        if op != ZERO and gate >= 0.5
    }
