"""Published settings of a strategy in the paper's presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.settings import PUBLISHED_PRESETS, recipe_for
from dots.recipe import build_recipe


@pytest.mark.parametrize("preset", PUBLISHED_PRESETS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_published_setting_makes_a_recipe(name: str, preset: str) -> None:
    recipe = recipe_for(preset, overrides=[f"strategy={name}"])
    assert recipe.strategy == name
    if name == "darts":
        assert recipe == build_recipe(preset)
        return
    assert recipe.retain == "top1"
    for setting, value in STRATEGIES[name].published.items():
        assert getattr(recipe.operations, setting) == value


def test_overrides_win() -> None:
    recipe = recipe_for("paper-cifar", overrides=["strategy=gdas", "operations.batch=7"])
    assert recipe.operations.batch == 7
    assert recipe.operations.epochs == 250


def test_other_presets_and_files_keep_their_settings(tmp_path: Path) -> None:
    words = ["strategy=gdas"]
    assert recipe_for("quick", overrides=words) == build_recipe("quick", overrides=words)
    file = tmp_path / "mine.toml"
    file.write_text('preset = "paper-cifar"\nstrategy = "gdas"\n')
    assert recipe_for(file=file) == build_recipe(file=file)


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(UserError, match="'dartz'"):
        recipe_for("paper-cifar", overrides=["strategy=dartz"])
