"""Recipes: all settings of a run, checked when built, with presets and files."""

from dots.recipe.build import (
    build_recipe,
    changed,
    differences,
    flattened,
    preset,
    recipe_from_json,
)
from dots.recipe.fields import Setting, describe, to_toml
from dots.recipe.presets import DEFAULT_PRESET, PRESETS
from dots.recipe.settings import (
    BudgetSettings,
    DataSettings,
    OperationSettings,
    Recipe,
    TopologySettings,
    TrainSettings,
)

__all__ = [
    "DEFAULT_PRESET",
    "PRESETS",
    "BudgetSettings",
    "DataSettings",
    "OperationSettings",
    "Recipe",
    "Setting",
    "TopologySettings",
    "TrainSettings",
    "build_recipe",
    "changed",
    "describe",
    "differences",
    "flattened",
    "preset",
    "recipe_from_json",
    "to_toml",
]
