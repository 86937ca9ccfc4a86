"""GDAS: the straight-through Jacobian, what is sampled, the order of its steps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.nas.strategies.gdas import Gdas
from helpers import contracts, searches, small

OPS = 8


def search_with_alpha(**changes: object) -> Gdas:
    """A search whose α is far from uniform."""
    search = searches.search(Gdas, fast=False, **changes)
    for index, alpha in enumerate(search.alpha.values()):
        generator = torch.Generator().manual_seed(index)
        alpha.data = torch.randn(alpha.shape, generator=generator)
    return search


@pytest.mark.parametrize("tau", [10.0, 0.7])
def test_the_weights_are_one_hot_and_their_jacobian_is_the_softmax_s(tau: float) -> None:
    """∂ĥ_k/∂α_i = p_k (δ_ki - p_i)/τ, p = softmax((log softmax α + g)/τ): by hand."""
    search = search_with_alpha()
    search.tau = tau
    for kind, mixture in search.mixtures("architecture").items():
        alpha, noise = search.alpha[kind], search.noise["architecture"][kind][0]
        with torch.no_grad():
            p = ((alpha.log_softmax(1) + noise) / tau).softmax(1)
        chosen = p.argmax(1)
        expected = small.one_hot(chosen.tolist(), OPS, torch.float32)
        assert torch.equal(mixture.operations, expected)
        assert mixture.active == tuple(tuple(row) for row in expected.bool().tolist())
        for edge in range(searches.EDGES):
            k = int(chosen[edge])
            (gradient,) = torch.autograd.grad(mixture.operations[edge, k], alpha, retain_graph=True)
            by_hand = p[edge, k] * (expected[edge] - p[edge]) / tau
            torch.testing.assert_close(gradient[edge], by_hand, rtol=1e-4, atol=1e-7)
            assert not gradient[torch.arange(searches.EDGES) != edge].any()


def test_alpha_learns_through_the_chosen_operation_alone() -> None:
    """∂L/∂α of a row is ⟨∂L/∂y, o_k(x)⟩ times the chosen operation's row of the Jacobian."""
    search = search_with_alpha()
    batch = small.batch()
    mixtures = search.mixtures("architecture")
    for mixture in mixtures.values():
        mixture.operations.retain_grad()
    loss = search.engine.cross_entropy(search.supernet(batch.images, mixtures), batch.labels)
    loss.backward()
    for kind, mixture in mixtures.items():
        assert mixture.operations.grad is not None
        mixed = torch.nonzero(mixture.operations.grad)
        chosen = torch.tensor(mixture.active)
        assert len(mixed)
        assert all(chosen[edge, op] for edge, op in mixed.tolist())
        rows = search.alpha[kind].grad
        assert rows is not None
        used = mixture.operations.grad.any(1)  # not where Zero was chosen
        assert (rows[used] != 0).all()
        assert not rows[~used].any()


def test_operations_are_sampled_with_the_probabilities_of_alpha() -> None:
    search = search_with_alpha()
    torch.manual_seed(0)
    draws = 1000
    counts = {kind: torch.zeros(searches.EDGES, OPS) for kind in search.alpha}
    agreed = 0
    for _ in range(draws):
        search.draw_noise()
        mine, other = search.mixtures("weights"), search.mixtures("architecture")
        for kind, mixture in mine.items():
            counts[kind] += mixture.operations.detach()
        agreed += mine["normal"].active[0] == other["normal"].active[0]  # type: ignore[index]
    for kind, count in counts.items():
        expected = search.alpha[kind].detach().softmax(1)
        assert float((count / draws - expected).abs().max()) < 0.06
    # The samples of the two steps are independent: they agree as often as two dice do.
    expected_agreement = float((search.alpha["normal"][0].detach().softmax(0) ** 2).sum())
    assert agreed / draws == pytest.approx(expected_agreement, abs=0.06)


def test_the_temperature_falls_linearly_whatever_the_number_of_epochs() -> None:
    search = searches.search(Gdas, epochs=5)
    taus = []
    for epoch in range(5):
        search.set_epoch(epoch)
        taus.append(search.tau)
        assert search.end_epoch(epoch) == {"temperature": search.tau}
    assert taus == pytest.approx([10.0, 7.525, 5.05, 2.575, 0.1])


def test_w_moves_first_and_alpha_sees_the_new_w() -> None:
    search, order = search_with_alpha(), []
    before = contracts.copied(list(search.supernet.parameters()))
    original = search.architecture_step

    def architecture_step(batch: object) -> object:
        order.append(contracts.same(before, contracts.copied(list(search.supernet.parameters()))))
        return original(batch)  # type: ignore[arg-type]

    search.architecture_step = architecture_step  # type: ignore[method-assign, assignment]
    search.step(0, small.batch(), small.batch(seed=1))
    assert order == [False]


def test_a_step_needs_one_transfer_for_its_two_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search, transfers = search_with_alpha(), []
    original = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: transfers.append(1) or original(tensor))

    def read(*_: object) -> None:
        raise AssertionError("a value is read from the device")

    for reader in ("item", "__bool__", "__int__", "__float__", "__index__", "nonzero", "cpu"):
        monkeypatch.setattr(Tensor, reader, read)
    search.mixtures("weights")
    search.mixtures("architecture")
    assert len(transfers) == 1


def test_the_parts_of_an_accumulated_batch_share_the_sample() -> None:
    search = search_with_alpha()
    search.engine.accumulate = 3
    seen = []
    original = search.mixtures
    search.mixtures = lambda phase: seen.append(original(phase)) or seen[-1]  # type: ignore[method-assign, assignment, func-returns-value]
    search.step(0, small.batch(), None)
    assert len(seen) == 3
    assert seen[0]["normal"].active == seen[1]["normal"].active == seen[2]["normal"].active


def test_where_zero_is_chosen_everywhere_alpha_stays() -> None:
    search = search_with_alpha()
    for alpha in search.alpha.values():
        alpha.data[:, 0] = 1e4
    before = copy.deepcopy(search.alpha.state_dict())
    search.step(0, small.batch(), small.batch(seed=1))
    assert contracts.same(dict(before), dict(search.alpha.state_dict()))


def test_evaluation_takes_the_most_probable_operation_and_scores_are_probabilities() -> None:
    search = search_with_alpha()
    for kind, mixture in search.mixtures("evaluation").items():
        assert mixture.operations.argmax(1).tolist() == search.alpha[kind].argmax(1).tolist()
        expected = search.alpha[kind].detach().softmax(1)
        torch.testing.assert_close(torch.tensor(search.scores()[kind]), expected)


def test_momentum_is_nesterov_s() -> None:
    assert searches.search(Gdas).weight_optimiser.sgd.param_groups[0]["nesterov"]
    assert not searches.search(
        Gdas, method={"nesterov": False}, momentum=0.0
    ).weight_optimiser.sgd.param_groups[0]["nesterov"]
    with pytest.raises(UserError, match="gdas uses Nesterov"):
        searches.search(Gdas, momentum=0.0)
