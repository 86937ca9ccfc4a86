"""Published settings of a strategy in the paper's presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.nas.plan import PUBLISHED_PRESETS, make_plan, recipe_for
from dots.nas.strategies import STRATEGIES
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
    strategy = STRATEGIES[name]
    imagenet = preset.startswith("paper-imagenet")
    table = strategy.published_imagenet if imagenet else strategy.published
    if table is None:  # never searched on ImageNet: the settings of the paper's search
        assert recipe.operations == build_recipe(preset).operations
        assert not recipe.method
        return
    for setting, value in table.items():
        if setting.startswith("method."):
            own = recipe.method[setting.removeprefix("method.")]
            assert own == (list(value) if isinstance(value, tuple) else value)
        else:
            assert getattr(recipe.operations, setting) == value
    make_plan(recipe)


def test_pc_darts_searches_imagenet_as_published() -> None:
    recipe = recipe_for("paper-imagenet", overrides=["strategy=pc-darts"])
    own = recipe.operations
    assert (own.batch, own.lr, own.lr_min, own.warmup_epochs) == (1024, 0.5, 0.0, 5)
    assert (own.epochs, own.weight_epochs, own.cells, own.channels) == (50, 35, 8, 16)
    assert (own.arch_lr, own.arch_betas, own.arch_clip) == (6e-3, (0.5, 0.999), 5.0)
    assert recipe.method == {"k": 2}
    assert (own.stem, own.crop) == ("imagenet", "resized")
    assert (recipe.data.weight_fraction, recipe.data.arch_fraction) == (0.1, 0.025)
    assert recipe.topology == build_recipe("paper-imagenet").topology


def test_dr_nas_searches_imagenet_as_published() -> None:
    recipe = recipe_for("paper-imagenet", overrides=["strategy=dr-nas"])
    own = recipe.operations
    assert (own.batch, own.lr, own.lr_min, own.arch_lr) == (512, 0.5, 0.0, 6e-3)
    assert (own.cells, own.channels, own.epochs, own.weight_epochs) == (14, 48, 50, 20)
    assert recipe.method == {"k": [6, 3]}


def test_overrides_win_in_imagenet() -> None:
    words = ["strategy=pc-darts", "method.k=4", "operations.warmup_epochs=0"]
    recipe = recipe_for("paper-imagenet", overrides=words)
    assert recipe.method == {"k": 4}
    assert recipe.operations.warmup_epochs == 0


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
