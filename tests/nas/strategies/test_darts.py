"""First-order DARTS: its weights with and without groups, and its bi-level step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dots.nas.strategies.base import MethodSettings
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.darts_second_order import DartsSecondOrder
from dots.recipe import build_recipe
from dots.space.retain import retained_groups
from dots.space.search_space import darts_space, named_space
from helpers import contracts, searches, small


def test_without_groups_it_is_one_softmax_over_the_operations() -> None:
    search = searches.search(Darts)
    for kind, rows in search.mixing_weights().items():
        torch.testing.assert_close(torch.tensor(rows), search.alpha[kind].detach().softmax(1))
        assert search.alpha[kind].detach().std() == pytest.approx(1e-3, rel=0.4)


@pytest.mark.parametrize("strategy", [Darts, DartsSecondOrder])
def test_with_groups_each_has_a_softmax_of_its_own_uniform_at_first(
    strategy: type[Darts],
) -> None:
    space = darts_space(nodes=2)
    context = searches.search(strategy, space).context
    search = strategy(replace(context, groups=space.groups_for("v1")), MethodSettings())
    for rows in search.mixing_weights().values():
        assert rows == [[0.5] * 8] * searches.EDGES
    search.alpha["normal"].data[0, 3] = 2.0  # the skip shares its group with Zero
    row = search.mixing_weights()["normal"][0]
    expected = torch.tensor([0.0, 2.0]).softmax(0).tolist()
    assert [row[0], row[3]] == pytest.approx(expected)
    assert row[1:3] + row[4:] == [0.5] * 6


@pytest.mark.parametrize("name", ["s2", "s3"])
def test_alpha_of_every_edge_moves_in_the_small_spaces(name: str) -> None:
    """With the groups of their presets, and with those of the DARTS space's."""
    space = named_space(name, 2)
    for scheme in (build_recipe("tiny", overrides=[f"space={name}"]).retain, "group-v2"):
        context = searches.search(Darts, space).context
        search = Darts(replace(context, groups=retained_groups(space, scheme)), MethodSettings())
        search.architecture_step(small.batch())
        for alpha in search.alpha.values():
            assert alpha.grad is not None
            assert bool(alpha.grad.any(1).all()), scheme


def test_alpha_learns_on_half_b_before_w_learns_on_half_a() -> None:
    both = searches.search(Darts)
    both.step(0, small.batch(seed=1), small.batch(seed=2))
    apart = searches.search(Darts)
    apart.architecture_step(small.batch(seed=2))
    apart.weight_step(small.batch(seed=1))
    assert contracts.same(both.state(), apart.state())
