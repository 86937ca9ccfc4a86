"""A budget at work: what is refused, what is chosen, and the random cell within it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dots.common.errors import UserError
from dots.nas.budget.budget import Budget
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.recipe import BudgetSettings, preset
from dots.space.search_space import darts_space

SPACE = darts_space(2)
SHAPE = Shape(2, 4, 3, 10)
TOPOLOGY = preset("tiny").topology


def budget(topology: Mapping[str, Any] | None = None, **budget: Any) -> Budget:
    settings = TOPOLOGY.model_copy(update=dict(topology or {}))
    return Budget(SPACE, BudgetSettings(**budget), settings, SHAPE, 16)


def least() -> int:
    """Parameters of the cheapest network: one of skips at stride 1 and poolings at stride 2."""
    from dots.nas.budget.cost_table import free_genotype

    return network_cost(free_genotype(SPACE), SHAPE, 16).parameters


def test_the_smallest_network_is_named_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match=f"the least is {least():,} .--max-params."):
        budget(max_parameters=least() - 1).check()
    budget(max_parameters=least()).check()


def test_kept_operations_may_be_too_costly() -> None:
    costly = dict.fromkeys(SPACE.kinds, (("sep_conv_3x3", "sep_conv_5x5"),) * 5)
    within = budget(max_parameters=least() + 10)
    within.check()
    with pytest.raises(UserError, match="no cell of this search has at most"):
        within.check(costly)


def test_without_limits_nothing_is_refused_or_changed() -> None:
    free = budget()
    free.check()
    assert free.penalty() is None
    cell = free.random_cell(0)
    assert free.choose(None, cell) is cell
    assert free.fits(cell)


@pytest.mark.parametrize("seed", range(5))
def test_the_random_cell_is_within_the_limits(seed: int) -> None:
    free = budget().random_cell(seed)
    parameters = network_cost(free, SHAPE, 16).parameters
    limit = (parameters + 2 * least()) // 3
    cell = budget(max_parameters=limit).random_cell(seed)
    assert network_cost(cell, SHAPE, 16).parameters <= limit
    assert cell == budget(max_parameters=limit).random_cell(seed)
    assert budget(max_parameters=10**9).random_cell(seed) == free


def test_a_random_cell_that_cannot_be_within_is_the_nearest() -> None:
    cell = budget(max_parameters=1).random_cell(0)
    free = budget().random_cell(0)
    assert network_cost(cell, SHAPE, 16).parameters <= network_cost(free, SHAPE, 16).parameters


def test_a_weight_needs_a_limit() -> None:
    with pytest.raises(ValueError, match="weight needs a limit"):
        BudgetSettings(weight=1.0)


def test_too_many_choices_are_told_and_not_tried() -> None:
    nodes, edges = 12, sum(range(2, 14))
    large = darts_space(nodes)
    settings = TOPOLOGY.model_copy(update={"edges": "any"})
    names = dict.fromkeys(large.kinds, (("skip_connect", "sep_conv_3x3", "sep_conv_5x5"),) * edges)
    record = {
        "parameterisation": "combinations",
        "edges": "any",
        "beta": {kind: [[0.0] * (2**n - 1) for n in range(2, 14)] for kind in large.kinds},
        "alpha": {kind: [[0.0] * 3] * edges for kind in large.kinds},
    }
    free = Budget(large, BudgetSettings(), settings, SHAPE, 16)
    assert free.distribution(names, record) is None
    bound = Budget(large, BudgetSettings(max_parameters=10**9), settings, SHAPE, 16)
    bound.check()
    with pytest.raises(UserError, match="too many choices"):
        bound.distribution(names, record)
