"""Eqs. (2), (6), (9) on hand-computed cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dots.nas import relaxation as relax
from dots.training import schedules


def test_softmax_is_equation_2() -> None:
    weights = relax.softmax(torch.tensor([[0.0, math.log(3.0)]]))
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75]]))


def test_softmax_with_temperature_is_equation_6() -> None:
    weights = relax.softmax(torch.tensor([0.0, 2 * math.log(3.0)]), 2.0)
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.75]))


def test_group_softmax_normalises_each_group_on_its_own() -> None:
    logits = torch.tensor([[0.0, math.log(2.0), 0.0, math.log(4.0)]])
    weights = relax.group_softmax(logits, [[0, 3], [2, 1]])
    torch.testing.assert_close(weights, torch.tensor([[1 / 5, 2 / 3, 1 / 3, 4 / 5]]))


def test_masked_softmax_leaves_the_masked_at_zero() -> None:
    mask = torch.tensor([[True, False, True]])
    weights = relax.masked_softmax(torch.tensor([[0.0, 9.0, math.log(3.0)]]), mask)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.0, 0.75]]))


def test_geometric_is_equation_9() -> None:
    theta = (0.02 / 10) ** (1 / 19)
    assert theta == pytest.approx(0.7210, abs=1e-4)  # the published ratio
    for k in range(20):
        assert schedules.geometric(10, 0.02, k, 20) == pytest.approx(10 * theta**k)
    assert schedules.geometric(10, 0.02, 19, 20) == pytest.approx(0.02)


@pytest.mark.parametrize("schedule", [schedules.geometric, schedules.linear])
def test_a_schedule_of_one_step_is_at_its_end(schedule: object) -> None:
    assert schedule(10.0, 0.02, 0, 1) == 0.02  # type: ignore[operator]


def test_linear_meets_both_ends() -> None:
    assert schedules.linear(10, 0.1, 0, 5) == 10
    assert schedules.linear(10, 0.1, 2, 5) == pytest.approx(5.05)
    assert schedules.linear(10, 0.1, 4, 5) == pytest.approx(0.1)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.0250), (30, 0.0157), (50, 0.0055)])
def test_cosine_gives_the_published_rates(epoch: int, rate: float) -> None:
    assert schedules.cosine(0.025, 0.001, epoch, 70) == pytest.approx(rate, abs=5e-5)


def test_cosine_does_not_rise_again() -> None:
    assert schedules.cosine(0.1, 0.01, 99, 50) == pytest.approx(0.01)


def test_gumbel_has_its_mean_and_is_finite() -> None:
    torch.manual_seed(0)
    noise = relax.gumbel(torch.Size([200_000]), torch.zeros(1))
    assert torch.isfinite(noise).all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_straight_through_is_hard_in_value_and_soft_in_gradient(row: list[float]) -> None:
    logits = torch.tensor([row], dtype=torch.float64, requires_grad=True)
    weight = torch.arange(len(row), dtype=torch.float64)
    soft = torch.softmax(logits, dim=-1)
    hard = relax.straight_through(soft)
    assert hard.detach().max() == pytest.approx(1)
    assert sorted(hard.detach().round().tolist()[0]) == [0.0] * (len(row) - 1) + [1.0]
    (got,) = torch.autograd.grad((hard * weight).sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad((soft * weight).sum(), logits)
    torch.testing.assert_close(got, expected)
