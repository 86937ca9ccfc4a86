"""Presets in other search spaces than the DARTS one."""

from __future__ import annotations

import pytest

from dots.nas.plan import make_plan
from dots.recipe import PRESETS, build_recipe, preset
from dots.recipe.presets import fitted


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("space", ["darts", "s2", "s3", "s4", "nasbench201"])
def test_every_preset_is_a_plan_in_every_space(name: str, space: str) -> None:
    recipe = build_recipe(name, overrides=[f"space={space}"])
    assert recipe.space == space
    assert make_plan(recipe).space.name == space
    if space == "nasbench201":
        for stage in (recipe.operations, recipe.topology, recipe.train):
            assert stage.cells % 3 == 0


def test_the_darts_space_takes_a_preset_as_it_is() -> None:
    assert fitted(preset("quick"), "darts") == preset("quick")


@pytest.mark.parametrize("space", ["s2", "s3", "s4"])
def test_the_small_spaces_have_one_softmax(space: str) -> None:
    """Their few operations would leave a group of one, whose weight is 1 whatever its α."""
    recipe = build_recipe("quick", overrides=[f"space={space}"])
    assert recipe.retain == "top1"
    assert recipe.operations == preset("quick").operations


def test_the_benchmark_chooses_among_all_subsets_of_edges() -> None:
    assert build_recipe("tiny", overrides=["space=nasbench201"]).topology.edges == "any"


def test_what_is_said_wins_over_what_fits_the_space() -> None:
    recipe = build_recipe("quick", overrides=["space=nasbench201", "topology.cells=6"])
    assert (recipe.operations.cells, recipe.topology.cells) == (3, 6)
    recipe = build_recipe("quick", overrides=["topology.edges=pairs", "space=nasbench201"])
    assert recipe.topology.edges == "pairs"
