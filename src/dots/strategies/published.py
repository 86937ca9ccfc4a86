"""Recipes in which a strategy other than DARTS has its own published settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dots.recipe import Recipe, build_recipe
from dots.strategies import find_strategy

PUBLISHED_PRESETS = ("paper-cifar", "paper-imagenet", "paper-release")


def recipe_for(
    preset: str | None = None, file: Path | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """As `dots.recipe.build_recipe`, with the strategy's published settings in paper presets.

    In the presets of the paper a strategy other than "darts" is plugged in as in Table 2:
    its operation search runs with the settings of its own publication, and the best
    operation of each edge is kept (Eq. 14). Overrides win over both; a file is taken as it
    is. Raises UserError as build_recipe, and for an unknown strategy.
    """
    recipe = build_recipe(preset, file, overrides)
    if file is not None or recipe.preset not in PUBLISHED_PRESETS or recipe.strategy == "darts":
        return recipe
    published = find_strategy(recipe.strategy).published
    values = [f"operations.{name}={_toml(value)}" for name, value in published.items()]
    return build_recipe(preset, None, ["retain=top1", *values, *overrides])


def _toml(value: object) -> str:
    return "none" if value is None else json.dumps(value)
