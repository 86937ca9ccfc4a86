"""OLES: the similarity of gradients, who freezes when, and what a frozen operation does."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from dots.common.errors import UserError
from dots.nas.plan import make_plan
from dots.nas.strategies.base import GradientSearch
from dots.nas.strategies.dr_nas import DrNas
from dots.nas.strategies.gdas import Gdas
from dots.nas.strategies.oles import Oles
from dots.nas.strategies.pc_darts import PcDarts
from dots.nas.strategies.shared.early_stopping import OperationEarlyStopping, agreement
from dots.recipe import build_recipe
from helpers import contracts, searches, small


def stopping(search: GradientSearch) -> OperationEarlyStopping:
    assert search.early_stopping is not None
    return search.early_stopping


def test_agreement_is_the_cosine_along_the_first_dimension_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    other = torch.tensor([[1.0, 1.0], [1.0, 0.0]])  # columns: cos 45°, cos 90°
    expected = (math.cos(math.pi / 4) + 0.0) / 2
    first = agreement([one], [other])
    assert first is not None
    assert float(first) == pytest.approx(expected)
    both = agreement([one, torch.tensor([2.0, 0.0])], [other, torch.tensor([-1.0, 0.0])])
    assert both is not None
    assert float(both) == pytest.approx((expected - 1) / 2)
    partly = agreement([one, None, one], [other, one, None])
    assert partly is not None
    assert float(partly) == pytest.approx(expected)
    assert agreement([None], [one]) is None


class Operation(nn.Module):
    def __init__(self, gradients: list[list[float]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.gradients = [torch.tensor(gradient) for gradient in gradients]


class Net(nn.Module):
    def __init__(self, *operations: Operation) -> None:
        super().__init__()
        self.operations = nn.ModuleList([*operations, nn.Identity()])


def compare(watched: OperationEarlyStopping, pairs: list[tuple[Operation, int, int]]) -> None:
    for operation, train, _ in pairs:
        operation.weight.grad = operation.gradients[train].clone()
    with watched.compared():
        for operation, _, validation in pairs:
            operation.weight.grad = operation.gradients[validation].clone()


def test_the_mean_over_the_steps_decides_and_for_good() -> None:
    """Cosines 1 and 0 (mean ½) against 0 and 0, at least 0.4 asked."""
    steady = Operation([[1.0, 0.0], [0.0, 1.0]])
    torn = Operation([[1.0, 0.0], [0.0, 1.0]])
    net = Net(steady, torn)
    watched = OperationEarlyStopping(net, 0.4, 2)  # type: ignore[arg-type]
    assert len(watched.operations) == 2, "without weights there is nothing to stop"
    compare(watched, [(steady, 0, 0), (torn, 0, 1)])
    assert watched.stopped == [False, False]
    compare(watched, [(steady, 0, 1), (torn, 0, 1)])
    assert watched.stopped == [False, True]
    assert torn.weight.grad is None
    assert watched.learning([steady.weight, torn.weight]) == [steady.weight]
    compare(watched, [(steady, 0, 1), (torn, 0, 0)])
    compare(watched, [(steady, 0, 1), (torn, 0, 0)])
    assert watched.stopped == [True, True], "counted anew, and the first is not thawed"


def test_a_step_of_alpha_compares_with_the_step_of_w_before_it() -> None:
    search = searches.search(Oles, precision="64")
    train, validation = small.batch(seed=1), small.batch(seed=2)
    search.architecture_step(validation)
    assert stopping(search).count == 0, "no step of w has been before"
    search.weight_step(train)
    weights = [list(op.parameters()) for op in stopping(search).operations]
    before = [[p.grad.clone() for p in each if p.grad is not None] for each in weights]
    search.architecture_step(validation)
    after = [[p.grad for p in each] for each in weights]
    logits = search.supernet(validation.images.double(), search.mixtures("architecture"))
    loss = search.engine.cross_entropy(logits, validation.labels)
    flat = [p for each in weights for p in each]
    exact = torch.autograd.grad(loss, flat, allow_unused=True)
    assert stopping(search).count == 1
    row = stopping(search).totals
    assert len(row) == len(weights)
    for place, pair in enumerate(zip(before, after, strict=True)):
        expected = torch.stack(
            [torch.cosine_similarity(a, b, dim=0).mean() for a, b in zip(*pair, strict=True)]
        ).mean()
        assert float(row[place]) == pytest.approx(float(expected), abs=1e-6)
    known = [p.grad for each in weights for p in each]
    for own, found in zip(known, exact, strict=True):
        assert own is not None
        if found is not None:
            assert own.shape == found.shape


def frozen_search(**changes: object) -> Oles:
    """All operations have been frozen: no cosine is above one."""
    search = searches.search(Oles, oles=1.0, oles_steps=1, **changes)
    search.weight_step(small.batch(seed=1))
    search.architecture_step(small.batch(seed=2))
    assert all(stopping(search).stopped)
    return search


def test_frozen_operations_stay_while_alpha_and_the_rest_of_w_learn() -> None:
    search = frozen_search()
    operations = [p for op in stopping(search).operations for p in op.parameters()]
    outside = [p for p in search.supernet.parameters() if all(p is not o for o in operations)]
    before = contracts.copied(operations)
    others, alphas = contracts.copied(outside), contracts.copied(list(search.alpha.values()))
    search.step(0, small.batch(seed=3), small.batch(seed=4))
    assert contracts.same(before, contracts.copied(operations)), "no decay, no momentum either"
    assert not contracts.same(others, contracts.copied(outside))
    assert not contracts.same(alphas, contracts.copied(list(search.alpha.values())))
    assert search.end_epoch(0) == {"stopped": 1.0}


def test_at_minus_one_nothing_freezes() -> None:
    search = searches.search(Oles, oles=-1.0, oles_steps=1)
    for step in range(3):
        search.step(0, small.batch(seed=step), small.batch(seed=9 + step))
    assert search.end_epoch(0) == {"stopped": 0.0}


def test_it_goes_on_bit_for_bit_between_the_step_of_w_and_that_of_alpha() -> None:
    def start() -> Oles:
        return searches.search(Oles, contracts.SMALL, oles=0.3, oles_steps=2)

    def steps(search: Oles, which: range) -> None:
        for step in which:
            torch.manual_seed(step)
            search.step(0, small.batch(seed=step), small.batch(seed=50 + step))

    whole, first, second = start(), start(), start()
    steps(whole, range(5))
    steps(first, range(3))
    second.load_state(copy.deepcopy(first.state()))
    steps(second, range(3, 5))
    assert contracts.same(whole.state(), second.state())


@pytest.mark.parametrize("strategy", [PcDarts, Gdas, DrNas])
def test_other_methods_take_the_setting(strategy: type[GradientSearch]) -> None:
    small_search = {"space": contracts.SMALL, "channels": 8, "fast": False}
    search = searches.search(strategy, **small_search, oles=1.0, oles_steps=1)
    assert searches.search(strategy, **small_search).early_stopping is None
    for step in range(12 if strategy is Gdas else 2):  # it must sample one in both steps
        torch.manual_seed(step)
        search.step(0, small.batch(seed=step), small.batch(seed=50 + step))
    assert any(stopping(search).stopped)
    if strategy is DrNas:
        search.begin_epoch(2)  # a new supernet
        assert not any(stopping(search).stopped)


@pytest.mark.parametrize(
    "name", ["darts-2nd", "snas", "drop-nas", "stac-nas", "random", "shapley-nas", "is-darts"]
)
def test_without_first_order_steps_on_both_halves_it_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' takes no such steps"):
        make_plan(build_recipe("tiny", overrides=[f"strategy={name}", "operations.oles=0.4"]))
