"""Reading a strategy's own settings out of a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dots.common.errors import UserError, did_you_mean, shown
from dots.nas.strategies import find_strategy
from dots.nas.strategies.base import MethodSettings, OperationSearch
from dots.recipe import PRESETS, Recipe, build_recipe


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
    preset: str | None = None, file: Path | None = None, overrides: Sequence[str] = ()
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
    strategy = find_strategy(recipe.strategy)
    imagenet = recipe.preset.startswith("paper-imagenet")
    published = strategy.published_imagenet or {} if imagenet else strategy.published
    values = [
        f"{name if '.' in name else f'operations.{name}'}={_toml(value)}"
        for name, value in published.items()
    ]
    return build_recipe(preset, None, ["retain=top1", *values, *overrides])


def _toml(value: object) -> str:
    return "none" if value is None else json.dumps(value)
