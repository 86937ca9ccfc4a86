"""DARTS-: the auxiliary skip of an edge, and how it fades."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dots.nas.strategies.darts_minus import AuxiliaryEdge, DartsMinus
from dots.networks.kernels.node_sum import Term, combine
from dots.networks.operations.candidates import OperationStyle
from dots.networks.operations.source import Source, complete
from dots.networks.supernet import EdgePlan, MixedEdge
from helpers import searches, small


def edge(stride: int) -> AuxiliaryEdge:
    torch.manual_seed(0)
    names = ("none", "max_pool_3x3", "sep_conv_3x3")
    style = OperationStyle(affine=False, pool_norm=True)
    built = AuxiliaryEdge(EdgePlan("normal", 0, (0, 2), names, 4, stride, style))
    built.share.fill_(0.3)
    return built


def extra(built: AuxiliaryEdge, x: Tensor, edge_weight: Tensor | None) -> Tensor:
    """What the edge adds to a mixed one."""
    weights, active = torch.tensor([0.2, 0.5, 0.3]).unbind(), (True, True, True)
    with_auxiliary: list[Term] = built(Source(x), weights, edge_weight, active)
    without = MixedEdge.forward(built, Source(x), weights, edge_weight, active)
    return combine(with_auxiliary, fast=False) - combine(without, fast=False)


@pytest.mark.parametrize("edge_weight", [None, 0.5])
def test_an_edge_adds_b_times_its_input(edge_weight: float | None) -> None:
    x = torch.randn(3, 4, 6, 6)
    weight = None if edge_weight is None else torch.tensor(edge_weight)
    expected = 0.3 * (edge_weight or 1.0) * x
    assert torch.allclose(extra(edge(1), x, weight), expected, atol=1e-5)


def test_at_stride_two_it_adds_a_reduction_of_its_own() -> None:
    built, x = edge(2), torch.randn(3, 4, 6, 6)
    reduced = complete(built.auxiliary(Source(x, fast=False)), fast=False)
    assert reduced.shape == (3, 4, 3, 3)
    assert torch.allclose(extra(built, x, None), 0.3 * reduced, atol=1e-5)


def test_b_falls_to_a_step_before_zero_over_the_real_length() -> None:
    published = searches.search(DartsMinus, epochs=50)
    assert [published.auxiliary_weight(e) for e in (0, 1, 25, 49)] == pytest.approx(
        [1, 0.98, 0.5, 0.02]
    )
    short = searches.search(DartsMinus, epochs=4)
    assert [short.auxiliary_weight(e) for e in range(4)] == pytest.approx([1, 0.75, 0.5, 0.25])
    cosine = searches.search(DartsMinus, epochs=4, method={"decay": "cosine", "auxiliary": 2.0})
    assert [cosine.auxiliary_weight(e) for e in (0, 2)] == pytest.approx([2.0, 1.0])


def test_every_edge_has_the_weight_of_the_epoch() -> None:
    search = searches.search(DartsMinus)
    search.set_epoch(3)
    shares = [m.share for m in search.supernet.modules() if isinstance(m, AuxiliaryEdge)]
    assert len(shares) == search.settings.cells * searches.EDGES
    assert {float(share) for share in shares} == {0.25}


def test_the_auxiliary_has_no_alpha_and_learns_its_own_weights() -> None:
    search = searches.search(DartsMinus)
    space = search.context.space
    assert all(alpha.shape[1] == len(space.operations) for alpha in search.alpha.values())
    search.step(0, small.batch(), small.batch(seed=1))
    auxiliary = {
        name: weight for name, weight in search.supernet.named_parameters() if ".auxiliary." in name
    }
    assert auxiliary
    assert all(weight.grad is not None and weight.grad.any() for weight in auxiliary.values())
    for kind, rows in search.mixing_weights().items():
        assert torch.allclose(torch.tensor(rows), search.alpha[kind].softmax(-1))
