"""Every strategy that learns can keep a budget in mind: its expected cost falls."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from dots.nas.budget.cost_table import CostTable, counted_tables
from dots.nas.budget.penalty import CostPenalty, uniform_kept
from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.base import GradientSearch
from dots.space.search_space import darts_space
from helpers import contracts, searches, small

LEARNING = [name for name, cls in STRATEGIES.items() if issubclass(cls, GradientSearch)]
SPACE = darts_space(nodes=2)


@cache
def parameters() -> CostTable:
    """Those of SPACE, counted once."""
    shape = searches.search(STRATEGIES["random"], SPACE).context.shape
    return counted_tables(SPACE, shape, 8)[0]


def penalty(weight: float) -> CostPenalty:
    """For the smallest network of all, which every search exceeds."""
    table = parameters()
    return CostPenalty(
        SPACE, [table], {"parameters": table.fixed}, weight, uniform_kept(SPACE, "pairs")
    )


def with_penalty(name: str, weight: float) -> GradientSearch:
    built = contracts.build(name, SPACE, fast=False)
    context = replace(built.context, penalty=penalty(weight) if weight else None)
    search = STRATEGIES[name](context, built.method)
    assert isinstance(search, GradientSearch)
    search.begin_epoch(0)
    search.set_epoch(0)
    return search


@pytest.mark.parametrize("name", LEARNING)
def test_the_expected_cost_falls_under_a_penalty(name: str) -> None:
    heavy = with_penalty(name, 1000.0)
    term = penalty(1.0)

    def cost() -> float:
        with torch.no_grad():
            weights = heavy.operation_probabilities()
            return float(term.expected(weights, heavy.supernet.candidates)["parameters"])

    before = cost()
    for step in range(4):
        torch.manual_seed(step)
        one_level = heavy.one_level
        heavy.step(0, small.batch(images=4, seed=step), None if one_level else small.batch(seed=9))
    assert cost() < before


@pytest.mark.parametrize("name", ["darts", "snas", "fair-darts"])
def test_the_record_keeps_the_loss_of_the_images(name: str) -> None:
    losses = []
    for weight in (0.0, 1000.0):
        search = with_penalty(name, weight)
        torch.manual_seed(0)
        held_out = None if search.one_level else small.batch(seed=9)
        if search.one_level:
            losses.append(float(search.step(0, small.batch(seed=1), None).loss))
        else:
            losses.append(float(search.architecture_step(held_out or small.batch()).loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
