"""What a recipe asks of a search, checked before any image is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dots.common.errors import UserError, did_you_mean, shown
from dots.common.plugins import (
    NOTHING,
    Given,
    Kind,
    Plugin,
    find_installed,
    find_outside,
    handed_over,
)
from dots.data import DataInfo
from dots.nas.budget.budget import Budget
from dots.nas.budget.latency import LatencyTable
from dots.nas.strategies import STRATEGIES, find_strategy
from dots.nas.strategies.base import GradientSearch, MethodSettings, OperationSearch, SupernetSearch
from dots.networks.body import Shape, check_image_size, stem_for
from dots.recipe import PRESETS, Recipe, build_recipe
from dots.recipe.settings import OperationSettings, SearchSettings, StageSettings
from dots.space.genotype import Genotype
from dots.space.retain import retained_groups
from dots.space.search_space import OURS, SearchSpace, named_space
from dots.zoo.dense import dense_form


@dataclass(frozen=True)
class Plan:
    """What a recipe asks for, checked before any image is read."""

    recipe: Recipe
    space: SearchSpace
    strategy: type[OperationSearch]
    method: MethodSettings
    given: Given = NOTHING

    def having(self, recipe: Recipe) -> Plan:
        """The plan of another recipe, with what was given for this one."""
        return make_plan(recipe, self.given)

    def plugins(self) -> Iterator[tuple[Kind, Plugin]]:
        """What the recipe names that is from outside."""
        if self.recipe.strategy not in STRATEGIES:
            name = self.recipe.strategy
            yield "strategy", find_outside("strategy", name, STRATEGIES, self.given.strategy)
        if self.recipe.space not in OURS:
            yield "space", find_outside("space", self.recipe.space, OURS, self.given.space)
        for name in self.space.operations:
            if name in self.space.own:
                yield "operation", handed_over(self.space.own[name])
            elif (found := find_installed("operation", name)) is not None:
                yield "operation", found

    def budget(self, info: DataInfo, latency: LatencyTable | None) -> Budget:
        """The budget for such images, with the latencies if they are known."""
        recipe, shape = self.recipe, stage_shape(self.recipe.train, info)
        return Budget(self.space, recipe.budget, recipe.topology, shape, info.image_size, latency)

    def check_sizes(self, info: DataInfo) -> None:
        """Raise UserError where the images are too small for the network of a stage."""
        for settings in (self.recipe.operations, self.recipe.topology, self.recipe.train):
            check_image_size(self.space, stage_shape(settings, info), info.image_size)


def make_plan(recipe: Recipe, given: Given = NOTHING) -> Plan:
    """Check a recipe's space, strategy, groups and method settings.

    `given` is what the recipe names and the package and what is installed do not have. Raises
    UserError for whatever does not exist or does not fit.
    """
    space = named_space(recipe.space, recipe.nodes, given.space)
    strategy = find_strategy(recipe.strategy, given.strategy)
    method = read_settings(strategy, recipe.method)
    retained_groups(space, recipe.retain)
    strategy.check(space, recipe.operations, method)
    check_combination(strategy, recipe.operations)
    return Plan(recipe, space, strategy, method, given)


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


def stage_shape(settings: StageSettings, info: DataInfo) -> Shape:
    """The size of a stage's network on such images."""
    return Shape(
        cells=settings.cells,
        channels=settings.channels,
        image_channels=info.channels,
        classes=len(info.classes),
        stem=stem_for(settings.stem, info.image_size),
        head_norm=isinstance(settings, SearchSettings) and settings.head_norm,
    )


def trained_form(recipe: Recipe, genotype: Genotype) -> Genotype:
    """The cell as a run with a halving trains it: by `halving.dense` in its dense form.

    Not within a budget, which counts the operations of the space.
    """
    dense = recipe.halving.dense and not recipe.budget.limited
    return dense_form(genotype) if dense else genotype


def read_settings(strategy: type[OperationSearch], values: Mapping[str, Any]) -> MethodSettings:
    """The settings of a strategy, checked. Raises UserError, naming the setting."""
    known = list(strategy.Settings.model_fields)
    for name in values:
        if name not in known:
            remedy = did_you_mean(name, known) if known else "it has none"
            raise UserError(f"the strategy {strategy.name!r} has no setting {name!r}: {remedy}")
    try:
        return strategy.Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, ("method", *first["loc"])))
        raise UserError(f"{name} = {shown(first['input'])}: {first['msg']}") from None


PUBLISHED_PRESETS = tuple(name for name in PRESETS if name.startswith("paper-"))


def recipe_for(
    preset: str | None = None,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    given: Given = NOTHING,
) -> Recipe:
    """As `dots.recipe.build_recipe`, with the strategy's published settings in paper presets.

    In the presets of the paper a strategy other than "darts" is plugged in as in Table 2:
    its operation search runs with the settings of its own publication, and the best
    operation of each edge is kept (Eq. 14). In "paper-imagenet" those are the ones of its
    search on ImageNet; a strategy that has none keeps the preset's. Overrides win over both; a
    file is taken as it is. Raises UserError as build_recipe, and for an unknown strategy.
    """
    recipe = build_recipe(preset, file, overrides)
    if file is not None or recipe.preset not in PUBLISHED_PRESETS or recipe.strategy == "darts":
        return recipe
    strategy = find_strategy(recipe.strategy, given.strategy)
    imagenet = recipe.preset.startswith("paper-imagenet")
    published = strategy.published_imagenet or {} if imagenet else strategy.published
    values = [
        f"{name if '.' in name else f'operations.{name}'}={_toml(value)}"
        for name, value in published.items()
    ]
    return build_recipe(preset, None, ["retain=top1", *values, *overrides])


def _toml(value: object) -> str:
    return "none" if value is None else json.dumps(value)
