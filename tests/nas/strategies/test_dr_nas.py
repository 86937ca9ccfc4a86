"""DrNAS: the distribution and its gradient, the regulariser, and the progressive stage."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import digamma, gammaln

from dots.common.errors import UserError
from dots.nas.strategies.dr_nas import DrNas
from dots.nas.strategies.shared.partial_channels import PartialEdge
from dots.space.search_space import darts_space, nasbench201_space
from helpers import searches, small

SPACE = darts_space(nodes=2)


def spread_alpha(search: DrNas) -> None:
    """Different concentrations on every edge, from exp(-1) to 2."""
    for kind, alpha in search.alpha.items():
        count = alpha.numel()
        order = torch.randperm(count, generator=torch.Generator().manual_seed(len(kind)))
        alpha.data = torch.linspace(-1, 1, count)[order].reshape(alpha.shape)


def elu_plus_one(alpha: torch.Tensor) -> torch.Tensor:
    return torch.where(alpha > 0, alpha + 1, alpha.exp())


def test_draws_are_weights_with_the_mean_of_the_distribution() -> None:
    search = searches.search(DrNas)
    spread_alpha(search)
    torch.manual_seed(0)
    with torch.no_grad():
        draws = torch.stack([search.operation_weights("weights")["normal"] for _ in range(4000)])
    torch.testing.assert_close(draws.sum(-1), torch.ones(4000, searches.EDGES))
    assert bool((draws[..., 0] == 0).all())  # Zero is no candidate
    assert bool((draws[..., 1:] > 0).all())
    c = elu_plus_one(search.alpha["normal"].detach()[:, 1:])
    mean = c / c.sum(1, keepdim=True)
    variance = mean * (1 - mean) / (1 + c.sum(1, keepdim=True))
    error = 5 * (variance / 4000).sqrt()
    assert bool(((draws.mean(0)[:, 1:] - mean).abs() < error).all())
    torch.testing.assert_close(draws.var(0)[:, 1:], variance, rtol=0.15, atol=0)
    torch.testing.assert_close(torch.tensor(search.mixing_weights()["normal"])[:, 1:], mean)


def test_the_reparametrised_gradient_is_that_of_the_mean() -> None:
    """E[∂w_1/∂α] = ∂(c_1/Σc)/∂α."""
    search = searches.search(DrNas, darts_space(1, ("skip_connect", "sep_conv_3x3", "noise")))
    for alpha in search.alpha.values():
        alpha.data = torch.tensor([[0.5, -0.5, 0.0], [1.0, 0.2, -1.0]])
    torch.manual_seed(0)
    alphas = list(search.alpha.values())
    total = torch.zeros(())
    for _ in range(1000):
        total = total + sum(w[:, 0].sum() for w in search.operation_weights("weights").values())
    sampled = torch.stack(torch.autograd.grad(total / 2000, alphas)).sum(0)
    c = elu_plus_one(alphas[0])
    (exact,) = torch.autograd.grad((c[:, 0] / c.sum(1)).sum(), alphas[0])
    assert exact.abs().min() > 0.04
    torch.testing.assert_close(sampled, exact, rtol=0, atol=0.02)


def test_concentration_stays_positive() -> None:
    search = searches.search(DrNas)
    for alpha in search.alpha.values():
        alpha.data = torch.full_like(alpha, -30.0)
    c = search.concentration("normal")
    torch.testing.assert_close(c, torch.full_like(c, math.exp(-30)))
    for alpha in search.alpha.values():
        alpha.data.fill_(-1e4)
    assert bool((search.concentration("normal") > 0).all())


def test_a_step_draws_and_an_evaluation_does_not() -> None:
    search = searches.search(DrNas)
    first, second = (search.operation_weights("weights")["normal"] for _ in range(2))
    assert not torch.equal(first, second)
    images = small.batch().images
    assert torch.equal(search.evaluate(images), search.evaluate(images))


def test_divergence_is_the_closed_form() -> None:
    search = searches.search(DrNas, method={"regulariser": "kl", "kl_weight": 0.5})
    spread_alpha(search)
    expected = 0.0
    for alpha in search.alpha.values():
        for row in elu_plus_one(alpha.detach()[:, 1:].double()).tolist():
            total = sum(row)
            expected += gammaln(total) - sum(map(gammaln, row)) - gammaln(len(row))
            expected += sum((c - 1) * (digamma(c) - digamma(total)) for c in row)
    penalty = search.penalty()
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(0.5 * expected, rel=1e-4)
    assert search.architecture_optimiser.adam.param_groups[0]["weight_decay"] == 0
    decayed = searches.search(DrNas)
    assert decayed.penalty() is None
    assert decayed.architecture_optimiser.adam.param_groups[0]["weight_decay"] == 1e-3


def test_the_second_stage_has_fewer_and_wider_operations() -> None:
    search = searches.search(DrNas, epochs=2, channels=12)
    sep = SPACE.operations.index("sep_conv_3x3") - 1
    assert set(search.supernet.candidates["normal"]) == {SPACE.operations[1:]}
    search.set_epoch(0)
    search.step(0, small.batch(), small.batch(seed=1))
    table = torch.tensor([[9.0, 0.1, 0.2, 0.3, 0.7, 0.4, 0.5, -0.6]] * searches.EDGES)
    for alpha in search.alpha.values():
        alpha.data = table.clone()
    old = search.supernet.body.cells[0].edges[0].inner.operations[sep].second.pointwise.weight
    momentum = search.weight_optimiser.sgd.state[old]["momentum_buffer"]
    alpha, adam = search.alpha["normal"], search.architecture_optimiser
    moments = adam.adam.state[alpha]["exp_avg"].clone()

    search.begin_epoch(1)
    kept = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3")
    assert set(search.supernet.candidates["normal"]) == {kept}
    new = search.supernet.body.cells[0].edges[0].inner.operations[1].second.pointwise.weight
    assert old.shape[:2] == (2, 2)  # 12 / 6
    assert new.shape[:2] == (3, 3)  # 12 / 4
    index = [0, 1, 0]
    assert torch.equal(new, old[index][:, index])
    carried = search.weight_optimiser.sgd.state[new]["momentum_buffer"]
    assert torch.equal(carried, momentum[index][:, index])
    assert search.alpha["normal"] is alpha
    assert search.architecture_optimiser is adam
    assert torch.equal(adam.adam.state[alpha]["exp_avg"], moments)
    lost = torch.tensor([op not in kept for op in SPACE.operations])
    assert bool((alpha[:, lost] == 0).all())
    assert torch.equal(alpha[:, ~lost], table[:, ~lost])
    search.set_epoch(1)
    search.step(1, small.batch(), small.batch(seed=1))
    weights = torch.tensor(search.mixing_weights()["normal"])
    torch.testing.assert_close(weights.sum(1), torch.ones(searches.EDGES))
    assert bool((weights[:, lost] == 0).all())


def test_the_cosine_runs_on() -> None:
    search = searches.search(DrNas, epochs=4, lr=0.1, lr_min=0.0)
    rates = []
    for epoch in range(4):
        search.begin_epoch(epoch)
        search.set_epoch(epoch)
        rates.append(search.weight_optimiser.lr)
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * e / 4)) for e in range(4)])


def test_in_nasbench201_all_channels_and_operations_are_searched_in_one_stage() -> None:
    space = nasbench201_space()
    search = searches.search(DrNas, space, epochs=4, weight_epochs=2)
    before = search.supernet
    trained = []
    for epoch in range(4):
        search.begin_epoch(epoch)
        trained.append(search.trains_architecture(epoch))
    assert trained == [False, False, True, True]
    assert search.supernet is before
    assert set(search.supernet.candidates["normal"]) == {space.operations}
    edges = [module for module in before.modules() if isinstance(module, PartialEdge)]
    assert {edge.parts for edge in edges} == {1}


def test_nasbench201_keeps_zero_and_three_of_five_where_it_is_progressive() -> None:
    space = nasbench201_space()
    search = searches.search(DrNas, space, epochs=2, method={"k": (4, 2)})
    assert set(search.supernet.candidates["normal"]) == {space.operations}
    search.begin_epoch(1)
    assert {len(names) for names in search.supernet.candidates["normal"]} == {3}
    edges = [m for m in search.supernet.modules() if isinstance(m, PartialEdge)]
    assert {edge.parts for edge in edges} == {2}


def test_edges_are_ranked_by_the_softmax_of_alpha() -> None:
    """By the mean of the distribution edge 3 would beat edge 4."""
    search = searches.search(DrNas)
    table = torch.zeros(searches.EDGES, 8)
    table[2, 4], table[4, 4] = 6.0, 4.0
    table[3, [1, 2, 3, 5, 6, 7]] = -2.5
    for alpha in search.alpha.values():
        alpha.data = table.clone()
    means = [max(row) for row in search.scores()["normal"]]
    assert means[2:] == pytest.approx([7 / 13, 1 / (1 + 6 * math.exp(-2.5)), 5 / 11])
    edges = search.derive().cells["normal"].nodes[1]
    assert [edge.source for edge in edges] == [0, 2]  # the cell's edges 2 and 4


def test_a_space_with_nothing_to_choose_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'dr-nas' needs two operations.*'bare'"):
        searches.search(DrNas, darts_space(2, ("skip_connect",), name="bare"))
