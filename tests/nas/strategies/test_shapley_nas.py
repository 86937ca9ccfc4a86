"""Shapley-NAS: marginal values by hand, how α follows them, and when."""

from __future__ import annotations

import copy

import pytest
import torch

from dots.nas.strategies import shapley_nas
from dots.nas.strategies.base import Mixtures
from dots.nas.strategies.shapley_nas import ShapleyNas, contributions
from helpers import contracts, searches, small

PLAYERS = 2 * searches.EDGES * 8


def additive(search: ShapleyNas, worth: dict[str, torch.Tensor]) -> None:
    """An accuracy that is the sum of what each operation that is left is worth."""

    def accuracy(mixtures: Mixtures, batch: object) -> float:
        kept = {kind: mixture.operations != 0 for kind, mixture in mixtures.items()}
        return float(sum((worth[kind] * kept[kind]).sum() for kind in worth))

    search._accuracy = accuracy  # type: ignore[method-assign]


def worths() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    raw = {k: torch.rand(searches.EDGES, 8, generator=generator) for k in ("normal", "reduce")}
    total = float(sum(table.sum() for table in raw.values()))
    return {kind: table / total for kind, table in raw.items()}


def test_in_an_additive_game_the_marginal_values_are_what_each_is_worth() -> None:
    search = searches.search(ShapleyNas, method={"truncate": 0.0})
    worth = worths()
    additive(search, worth)
    for order in range(3):
        torch.manual_seed(order)
        values = search.marginal_values(small.batch())
        for kind, table in values.items():
            torch.testing.assert_close(table, worth[kind], rtol=0, atol=1e-5)


def test_an_order_ends_below_the_truncation_and_the_rest_has_no_value() -> None:
    search = searches.search(ShapleyNas, method={"truncate": 0.5})
    worth = {kind: torch.full((searches.EDGES, 8), 1 / PLAYERS) for kind in ("normal", "reduce")}
    additive(search, worth)
    values = search.marginal_values(small.batch())
    removed = sum(int((table != 0).sum()) for table in values.values())
    # 1 - r/80 < ½ for the first time at r = 41, or at 40 where sums are rounded down.
    assert removed in (PLAYERS // 2, PLAYERS // 2 + 1)


def test_contributions_by_hand() -> None:
    values = torch.tensor([[[0.4, 0.0], [0.2, 0.1]], [[0.2, 0.0], [0.2, 0.3]]])
    # mean 0.3, 0, 0.2, 0.2; deviation 0.1, 0, 0, 0.1; so 0.2, 0, 0.2, 0.1
    score = torch.tensor([[0.2, 0.0], [0.2, 0.1]])
    expected = (score - 0.125) / score.std(correction=0)
    torch.testing.assert_close(contributions(values), expected)
    assert not contributions(torch.ones(3, 2, 2)).any()


def test_alpha_follows_the_running_mean_once_an_epoch() -> None:
    search = searches.search(ShapleyNas, method={"permutations": 2, "truncate": 0.0})
    worth = worths()
    additive(search, worth)
    start = {kind: alpha.clone() for kind, alpha in search.alpha.items()}
    mean = {kind: torch.zeros(searches.EDGES, 8) for kind in worth}
    expected = {kind: alpha.clone() for kind, alpha in start.items()}
    for epoch in range(3):
        search.begin_epoch(epoch)
        for step in range(4):
            torch.manual_seed(step)
            search.step(epoch, small.batch(seed=step), small.batch(seed=9))
            moved = any(not torch.equal(search.alpha[k], expected[k]) for k in expected)
            if step == 1:
                for kind, table in worth.items():
                    score = (table - table.mean()) / table.std(correction=0)
                    mean[kind] = 0.8 * mean[kind] + 0.2 * score
                    expected[kind] = expected[kind] + 0.1 * mean[kind]
                    torch.testing.assert_close(
                        search.alpha[kind], expected[kind], rtol=0, atol=1e-3
                    )
                    expected[kind] = search.alpha[kind].clone()
            else:
                assert not moved
        search.end_epoch(epoch)
    best = int(worth["normal"][0].argmax())
    assert int(torch.tensor(search.scores()["normal"][0]).argmax()) == best


def test_it_goes_on_between_two_orders_of_an_epoch() -> None:
    def half() -> ShapleyNas:
        search = searches.search(ShapleyNas, contracts.SMALL, method={"permutations": 2})
        torch.manual_seed(0)
        search.step(0, small.batch(), small.batch(seed=9))
        return search

    whole, second = half(), searches.search(ShapleyNas, contracts.SMALL, seed=1)
    assert whole.values
    second.load_state(copy.deepcopy(whole.state()))
    second.method = whole.method
    for search in (whole, second):
        torch.manual_seed(1)
        search.step(0, small.batch(seed=1), small.batch(seed=8))
        assert not search.values
    assert contracts.same(whole.state(), second.state())


def test_a_short_epoch_moves_alpha_at_its_end_and_weight_epochs_do_not() -> None:
    search = searches.search(ShapleyNas, weight_epochs=1)
    assert not search.wants_architecture_batch(0)
    assert search.wants_architecture_batch(1)
    before = contracts.copied(list(search.alpha.values()))
    search.step(0, small.batch(), None)
    search.end_epoch(0)
    assert contracts.same(before, contracts.copied(list(search.alpha.values())))
    search.begin_epoch(1)
    search.step(1, small.batch(), small.batch(seed=1))
    assert contracts.same(before, contracts.copied(list(search.alpha.values())))
    search.end_epoch(1)
    assert not contracts.same(before, contracts.copied(list(search.alpha.values())))


def test_removals_leave_w_and_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    search = searches.search(ShapleyNas, contracts.SMALL)
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    calls = []
    real = shapley_nas.loss_and_accuracy
    monkeypatch.setattr(shapley_nas, "loss_and_accuracy", lambda *a: calls.append(1) or real(*a))
    search.marginal_values(small.batch(seed=1))
    assert 2 <= len(calls) <= 2 * 2 * 8 + 1
    assert contracts.same(before, search.supernet.state_dict())
    assert not any(alpha.requires_grad for alpha in search.alpha.values())
