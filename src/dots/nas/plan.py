"""What a recipe asks of a search, checked before any image is read."""

from __future__ import annotations

from dataclasses import dataclass

from dots.common.errors import UserError
from dots.data import DataInfo
from dots.nas.strategies import find_strategy
from dots.nas.strategies.base import (
    GradientSearch,
    MethodSettings,
    OperationSearch,
    SearchContext,
    SupernetSearch,
)
from dots.nas.strategies.settings import read_settings
from dots.networks.body import Shape
from dots.recipe import Recipe
from dots.recipe.settings import OperationSettings, SearchSettings, StageSettings
from dots.space.retain import retained_groups
from dots.space.search_space import SearchSpace, named_space
from dots.training.engine import Engine


@dataclass(frozen=True)
class Plan:
    """What a recipe asks for, checked before any image is read."""

    recipe: Recipe
    space: SearchSpace
    strategy: type[OperationSearch]
    method: MethodSettings


def make_plan(recipe: Recipe) -> Plan:
    """Check a recipe's space, strategy, groups and method settings.

    Raises UserError for whatever does not exist or does not fit.
    """
    space = named_space(recipe.space, recipe.nodes)
    strategy = find_strategy(recipe.strategy)
    method = read_settings(strategy, recipe.method)
    retained_groups(space, recipe.retain)
    strategy.check(space, recipe.operations, method)
    check_combination(strategy, recipe.operations)
    return Plan(recipe, space, strategy, method)


def check_combination(strategy: type[OperationSearch], settings: OperationSettings) -> None:
    """Raise UserError where β-decay, OLES or perturbation is asked of a method without its base."""
    name, learns = strategy.name, issubclass(strategy, GradientSearch)
    if settings.beta_decay and not learns:
        raise UserError(
            f"β-decay is a gradient of α, and the strategy {name!r} takes none: leave out "
            "operations.beta_decay"
        )
    bilevel = issubclass(strategy, GradientSearch) and strategy.first_order
    if settings.oles is not None and (not bilevel or strategy.one_level):
        raise UserError(
            f"OLES compares the gradients of first-order steps on both halves, and the strategy "
            f"{name!r} takes no such steps: leave out operations.oles"
        )
    if settings.select == "perturbation" and not issubclass(strategy, SupernetSearch):
        raise UserError(
            f"operations.select = 'perturbation' needs a trained supernet, and the strategy "
            f"{name!r} trains none: choose another strategy or argmax"
        )


def search_context(plan: Plan, shape: Shape, engine: Engine, image_size: int) -> SearchContext:
    """What a strategy is given, for images of `image_size` pixels a side; without a budget."""
    recipe = plan.recipe
    return SearchContext(
        space=plan.space,
        shape=shape,
        settings=recipe.operations,
        engine=engine,
        seed=recipe.seed,
        groups=retained_groups(plan.space, recipe.retain),
        image_size=image_size,
        fast=recipe.fast_kernels,
        low_memory=recipe.low_memory,
    )


def stage_shape(settings: StageSettings, info: DataInfo) -> Shape:
    """The size of a stage's network on such images."""
    return Shape(
        cells=settings.cells,
        channels=settings.channels,
        image_channels=info.channels,
        classes=len(info.classes),
        stem=settings.stem,
        head_norm=isinstance(settings, SearchSettings) and settings.head_norm,
    )
