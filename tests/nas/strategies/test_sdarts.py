"""SDARTS: where the perturbations lie, and that the attack raises the loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dots.nas.strategies.base import GradientSearch, OperationSearch
from dots.nas.strategies.dr_nas import DrNas
from dots.nas.strategies.sdarts import SdartsAdv, SdartsRs, ascend, into_ball, onto_simplex, uniform
from dots.space.search_space import ZERO, darts_space, named_space, nasbench201_space
from helpers import searches, small

STRONG = {"epsilon_start": 0.3}
Rows = st.lists(st.lists(st.floats(-1, 2, width=32), min_size=4, max_size=4), min_size=1)


def clean_weights(search: SdartsAdv | SdartsRs) -> dict[str, Tensor]:
    return {
        kind: mixture.operations.detach()
        for kind, mixture in search.mixtures("architecture").items()
    }


def loss_under(search: SdartsAdv, weights: dict[str, Tensor]) -> float:
    search.supernet.eval()
    loss = float(search._loss(weights, small.batch()))
    search.supernet.train()
    return loss


def trained() -> SdartsAdv:
    """A search whose running statistics and α have left their start."""
    space = darts_space(2, ("skip_connect", "max_pool_3x3", "sep_conv_3x3"))
    search = searches.search(SdartsAdv, space, method=STRONG, arch_lr=0.1)
    for step in range(6):
        search.architecture_step(small.batch(seed=step))
        GradientSearch.weight_step(search, small.batch(seed=step))  # without an attack
    return search


@given(Rows)
@settings(deadline=None)
def test_projected_rows_are_distributions(rows: list[list[float]]) -> None:
    before = torch.tensor(rows)
    after = onto_simplex(before)
    assert torch.allclose(after.sum(1), torch.ones(len(rows)), atol=1e-5)
    assert ((after >= 0) & (after <= 1)).all()


def test_projection_by_hand() -> None:
    rows = torch.tensor([[0.5, 1.5, -1.0], [-0.3, -0.1, -0.2], [0.2, 0.3, 0.5]])
    expected = torch.tensor([[1 / 3, 2 / 3, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    assert torch.allclose(onto_simplex(rows), expected)


@given(Rows, st.floats(0.01, 0.5))
@settings(deadline=None)
def test_the_clamp_stays_in_the_ball(rows: list[list[float]], epsilon: float) -> None:
    far = torch.tensor(rows)
    clean = torch.full_like(far, 0.25)
    near = into_ball(far, clean, epsilon)
    assert ((near - clean).abs() <= epsilon + 1e-6).all()
    inside = (far - clean).abs() <= epsilon
    assert torch.equal(near[inside], far[inside])


def test_renormalising_may_leave_the_ball() -> None:
    """Hence the clamp comes before the projection, as published."""
    clean = torch.tensor([[0.98, 0.01, 0.01]])
    inside = into_ball(clean - 1.0, clean, 0.3)
    assert ((inside - clean).abs() <= 0.3 + 1e-6).all()
    assert ((onto_simplex(inside) - clean).abs() <= 0.3).all()
    clean = torch.full((1, 10), 0.1)
    inside = into_ball(torch.tensor([[1.0, *[0.0] * 9]]), clean, 0.1)
    assert ((onto_simplex(inside) - clean).abs() > 0.1).any()


def test_a_step_of_the_attack_follows_the_sign_of_the_gradient() -> None:
    clean = torch.tensor([[0.4, 0.3, 0.3]])
    weights = clean.clone()
    weights.grad = torch.tensor([[5.0, -0.001, 0.0]])
    moved = torch.tensor([[0.45, 0.25, 0.3]])  # sums to one: the projection changes nothing
    assert torch.allclose(ascend(weights, clean, 0.05, 0.1), moved)
    weights = torch.tensor([[0.48, 0.22, 0.3]])
    weights.grad = torch.tensor([[1.0, -1.0, 0.0]])
    bounded = torch.tensor([[0.5, 0.2, 0.3]])
    assert torch.allclose(ascend(weights, clean, 0.05, 0.1), bounded)


def test_the_attack_raises_the_loss_more_than_chance_does() -> None:
    search = trained()
    clean = clean_weights(search)
    torch.manual_seed(0)
    attacked = loss_under(search, search.perturb(clean, small.batch()))
    chance = [loss_under(search, search.random_neighbour(clean)) for _ in range(10)]
    assert attacked > max(chance)
    assert attacked > loss_under(search, clean)


def test_an_attack_that_lowered_the_loss_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    search = trained()
    clean = clean_weights(search)
    worse = search.perturb(clean, small.batch())
    better = {kind: onto_simplex(2 * clean[kind] - worse[kind]) for kind in clean}
    assert loss_under(search, better) < loss_under(search, clean)
    for found, expected in ((better, clean), (worse, worse)):
        monkeypatch.setattr(search, "_attack", lambda *_, found=found: found)
        kept = search.perturb(clean, small.batch())
        assert all(torch.equal(kept[kind], expected[kind]) for kind in clean)


def test_the_attack_leaves_no_trace_in_the_supernet() -> None:
    search = trained()
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    for weight in search.supernet.parameters():
        weight.grad = None
    search.perturb(clean_weights(search), small.batch())
    after = search.supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(module.training for module in search.supernet.modules())
    assert all(weight.grad is None for weight in search.supernet.parameters())
    assert all(weight.requires_grad for weight in search.supernet.parameters())


def test_each_attack_takes_its_gradient_steps_and_compares_two_losses() -> None:
    search = searches.search(SdartsAdv, method={"attack_steps": 3})
    passes = []
    search.supernet.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    search.step(0, small.batch(), None)
    assert passes == [True] * 3 + [False] * 2 + [True]


@pytest.mark.parametrize("strategy", [SdartsRs, SdartsAdv])
def test_only_the_weight_step_sees_the_perturbation(
    strategy: type[SdartsAdv | SdartsRs],
) -> None:
    search = searches.search(strategy, method=STRONG)
    alpha = {kind: value.detach().clone() for kind, value in search.alpha.items()}
    search.weight_step(small.batch())
    for kind, value in search.alpha.items():
        assert torch.equal(value, alpha[kind])
        clean = value.softmax(-1)
        assert torch.equal(search.mixtures("architecture")[kind].operations, clean)
        assert torch.equal(search.mixtures("evaluation")[kind].operations, clean)
        assert not torch.allclose(search.mixtures("weights")[kind].operations, clean, atol=0.01)


def test_random_perturbations_are_new_each_step_and_uniform() -> None:
    search = searches.search(SdartsRs, method=STRONG)
    seen = []
    for _ in range(2):
        search.weight_step(small.batch())
        seen.append(search.perturbed["normal"])
    assert not torch.equal(*seen)
    torch.manual_seed(0)
    noise = uniform(torch.empty(200, 200), 0.3)
    assert float(noise.abs().max()) <= 0.3
    assert float(noise.std()) == pytest.approx(0.6 / 12**0.5, abs=0.002)
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)


def test_epsilon_grows_from_the_first_epoch_towards_the_last() -> None:
    search = searches.search(SdartsRs, epochs=10)
    values = []
    for epoch in (0, 5, 9):
        search.set_epoch(epoch)
        values.append(search.epsilon)
    assert values == pytest.approx([0.03, 0.03 + 0.27 * 0.5, 0.03 + 0.27 * 0.9])


@pytest.mark.parametrize("strategy", [SdartsRs, SdartsAdv, DrNas])
def test_zero_is_left_out_of_the_darts_space_alone(strategy: type[OperationSearch]) -> None:
    for space in (named_space("s3", 2), nasbench201_space()):
        found = searches.search(strategy, space)
        assert isinstance(found, GradientSearch)
        assert set(found.supernet.candidates["normal"]) == {space.operations}
    found = searches.search(strategy, darts_space(2))
    assert isinstance(found, GradientSearch)
    assert set(found.supernet.candidates["normal"]) == {darts_space(2).operations[1:]}


def test_zero_is_searched_where_asked() -> None:
    space = darts_space(2)
    assert ZERO not in searches.search(SdartsRs, space).searched_operations()
    kept = searches.search(SdartsRs, space, method={"zero": True})
    assert kept.searched_operations() == space.operations
