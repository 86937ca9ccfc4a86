"""Recipes: presets to the digit, files, overrides, and one clear line for what is wrong."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dots import zoo
from dots.common.errors import UserError
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.recipe import (
    PRESETS,
    OperationSettings,
    Recipe,
    TopologySettings,
    build_recipe,
    changed,
    describe,
    differences,
    flattened,
    preset,
    recipe_from_json,
    to_toml,
)
from dots.recipe.settings import HalvingSettings
from dots.recipe.shares import fitted_to_images


def cosine(stage: OperationSettings | TopologySettings, epoch: int) -> float:
    """The learning rate in closed form, to check where on its axis a stage starts."""
    horizon = stage.lr_epochs or stage.epochs
    angle = math.pi * (stage.lr_offset + epoch) / horizon
    return stage.lr_min + (stage.lr - stage.lr_min) * (1 + math.cos(angle)) / 2


# --- presets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_carries_its_name_and_survives_both_formats(name: str, tmp_path: Path) -> None:
    recipe = preset(name)
    assert recipe.preset == name
    assert recipe_from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_json()))
    assert build_recipe(file=tmp_path / "recipe.toml") == recipe
    assert build_recipe(file=tmp_path / "recipe.json") == recipe
    assert build_recipe(file=tmp_path) == recipe, "a run directory stands for its recipe.json"


def test_paper_cifar_is_the_paper_where_it_speaks_and_the_release_elsewhere() -> None:
    recipe = preset("paper-cifar")
    operations, topology, train = recipe.operations, recipe.topology, recipe.train
    assert (operations.epochs, topology.epochs) == (30, 40)
    assert (operations.cells, topology.cells) == (8, 20)
    assert (operations.weight_epochs, topology.weight_epochs) == (15, 0)
    assert (topology.t_start, topology.t_end, topology.anneal) == (10, 0.02, "step")
    assert (topology.alpha_ratio, topology.normalise, topology.edges) == (1e-3, True, "pairs")
    assert (operations.channels, operations.batch, operations.weight_decay) == (16, 64, 3e-4)
    assert operations.arch_betas == (0.5, 0.999)
    assert topology.arch_betas == (0.9, 0.999)
    assert not operations.head_norm
    assert recipe.retain == "group-v2"
    # the published values of the one 70-epoch axis
    assert cosine(operations, 0) == 0.025
    assert cosine(topology, 0) == pytest.approx(0.0157, abs=5e-5)
    assert cosine(topology, 20) == pytest.approx(0.0055, abs=5e-5)
    assert (train.epochs, train.cells, train.channels, train.batch) == (600, 20, 36, 96)
    assert (train.lr, train.lr_min, train.clip, train.cutout) == (0.025, 0, 5, 16)
    assert (train.auxiliary, train.drop_path, train.stem) == (0.4, 0.2, "cifar")


def test_paper_release_differs_from_the_paper_only_where_the_release_does() -> None:
    differing = {
        name: new
        for name, _, new in differences(preset("paper-cifar"), preset("paper-release"))
        if name != "preset"
    }
    assert differing == {
        "operations.head_norm": True,
        "topology.head_norm": True,
        "topology.cells": 8,
        "topology.weight_epochs": 20,
        "topology.weight_half": True,
        "topology.anneal": "epoch",
        "topology.normalise": False,
    }


def test_the_network_of_table_3_has_48_channels() -> None:
    """5.3 M parameters are printed; the text's 46 channels have fewer."""
    found = differences(preset("paper-imagenet"), preset("paper-imagenet-48"))
    assert found[1:] == (("train.channels", 46, 48),)
    counted = {}
    for name in ("paper-imagenet", "paper-imagenet-48"):
        train = preset(name).train
        shape = Shape(train.cells, train.channels, 3, 1000, stem=train.stem)
        cell = zoo.load("DOTS_ImageNet").genotype
        counted[train.channels] = network_cost(cell, shape, 224).parameters
    assert counted == {46: 4_954_073, 48: 5_348_032}


def test_paper_imagenet() -> None:
    recipe = preset("paper-imagenet")
    operations, topology, train = recipe.operations, recipe.topology, recipe.train
    assert (recipe.data.weight_fraction, recipe.data.arch_fraction) == (0.1, 0.025)
    assert recipe.data.image_size == 224
    assert operations.cells == topology.cells == train.cells == 14
    assert {stage.stem for stage in (operations, topology, train)} == {"imagenet"}
    assert (operations.batch, operations.arch_lr, operations.arch_clip) == (512, 3e-3, 5)
    assert (operations.weight_epochs, topology.weight_epochs) == (20, 0)
    assert cosine(operations, 30) == pytest.approx(0.001)
    assert cosine(topology, 0) == pytest.approx(0.153, abs=5e-4)
    assert (train.epochs, train.batch, train.channels, train.lr) == (250, 1024, 46, 0.5)
    assert (train.weight_decay, train.warmup_epochs, train.label_smoothing) == (3e-5, 5, 0.1)
    assert (train.colour_jitter, train.crop, train.drop_path) == (True, "resized", 0)


def test_the_default_is_quick() -> None:
    assert build_recipe() == preset("quick")


def test_an_unknown_preset_is_answered_with_a_near_one_and_the_list() -> None:
    with pytest.raises(UserError, match=r"did you mean paper-cifar.*tiny, quick, small") as caught:
        build_recipe("paper_cifar")
    assert "\n" not in str(caught.value)


# --- overrides -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("seed=7", "seed", 7),
        (" seed = 7 ", "seed", 7),
        ("operations.lr=1e-3", "operations.lr", 0.001),
        ("operations.lr=.5", "operations.lr", 0.5),
        ("operations.lr=1", "operations.lr", 1.0),
        ("strategy=pc-darts", "strategy", "pc-darts"),
        ('strategy="pc-darts"', "strategy", "pc-darts"),
        ("precision=bf16", "precision", "bf16"),
        ("fast=false", "fast", False),
        ("fast=False", "fast", False),
        ("train.clip=none", "train.clip", None),
        ("nodes=5", "nodes", 5),
        ("topology.edges=any", "topology.edges", "any"),
        ("topology.edges=3", "topology.edges", 3),
        ("topology.arch_betas=[0.1, 0.2]", "topology.arch_betas", [0.1, 0.2]),
        ("topology.arch_betas=0.1,0.2", "topology.arch_betas", [0.1, 0.2]),
        ("baselines=random,darts-policy", "baselines", ["random", "darts-policy"]),
        ("baselines=darts-policy", "baselines", ["darts-policy"]),
        ("baselines=", "baselines", []),
        ("method.steps=[5, 11]", "method.steps", [5, 11]),
        ("method.mode=two-path", "method.mode", "two-path"),
        ("method.text=a=b", "method.text", "a=b"),
    ],
)
def test_an_override_sets_its_setting_and_nothing_else(
    override: str, name: str, value: Any
) -> None:
    start = preset("quick")
    built = build_recipe(overrides=[override])
    assert dict(flattened(built))[name] == value
    assert type(dict(flattened(built))[name]) is type(value)
    assert {changed_name for changed_name, _, _ in differences(start, built)} <= {name}
    assert changed(start, [override]) == built


def test_the_last_override_wins_and_values_cannot_smuggle_in_others() -> None:
    assert build_recipe(overrides=["seed=1", "seed=2"]).seed == 2
    recipe = build_recipe(overrides=["strategy=1\nseed = 5"])
    assert (recipe.seed, recipe.strategy) == (0, "1\nseed = 5")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "epochs=3",
            "did you mean operations.epochs, topology.epochs, halving.epochs or train.epochs?",
        ),
        ("operations.epoch=3", "did you mean operations.epochs"),
        ("train.weightdecay=0", "did you mean train.weight_decay"),
        ("sede=1", "did you mean seed"),
        ("zzzz.qqqq=1", "'dots recipe' prints all settings"),
        ("operations.epochs=0", "operations.epochs = 0: must be a whole number from 1 to 100000"),
        ("operations.epochs=2.5", "operations.epochs = 2.5: must be a whole number"),
        ("operations.epochs=true", "operations.epochs = true: must be a whole number"),
        ("operations.lr=fast", 'operations.lr = "fast": must be a number above 0'),
        ("operations.lr=nan", "operations.lr = NaN: must be a number"),
        ("operations.lr=inf", "operations.lr = Infinity: must be a number"),
        ("operations.lr=none", 'operations.lr = "none": must be a number'),
        ("retain=top3", "retain = \"top3\": must be 'top1', 'top2', 'group-v1' or 'group-v2'"),
        ("topology.edges=0", "must be 'pairs' or 'any' or a whole number from 1 to 12"),
        ("operations.arch_betas=[0.1]", "must be a list of 2, each a number of at least 0"),
        ("baselines=[random]", "baselines = "),
        ("baselines=random,random", "baselines names the same cell twice"),
        ("space=dartz", "unknown search space 'dartz': did you mean 'darts'?"),
        ("operations=3", "is a group of settings: set one of them, such as operations.epochs"),
        ("preset=tiny", "choose it with --preset"),
        ("seed", "write it as section.name=value"),
        ("=3", "write it as section.name=value"),
        ("operations.weight_epochs=99", "weight_epochs (99) must be at most epochs"),
        ("operations.lr_min=1", "lr_min (1.0) must be at most lr"),
        ("operations.lr_offset=1", "must be at most lr_epochs"),
        ("topology.t_end=11", "t_end (11.0) must be at most t_start (10.0)"),
        ("train.warmup_epochs=999", "warmup_epochs (999) must be at most epochs"),
        ("data.arch_fraction=0.6", "weight_fraction + arch_fraction must be at most 1"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_recipe(overrides=[override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_edge_weights_cannot_choose_a_number_of_edges() -> None:
    with pytest.raises(UserError, match="'combinations' or 'sigmoid'"):
        build_recipe(overrides=["topology.parameterisation=edges", "topology.edges=any"])
    build_recipe(overrides=["topology.parameterisation=sigmoid", "topology.edges=any"])


@settings(deadline=None)
@given(st.text())
def test_no_text_makes_an_override_do_anything_but_work_or_complain_in_one_line(text: str) -> None:
    for override in (text, f"seed={text}", f"operations.lr={text}", f"baselines={text}"):
        message = ""
        try:
            build_recipe(overrides=[override])
        except UserError as error:
            message = str(error)
        assert "\n" not in message


# --- files -----------------------------------------------------------------------------------


def test_a_file_starts_from_the_preset_it_names_and_overrides_come_last(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "tiny"\nseed = 3\n[train]\nepochs = 9\nclip = "none"\n')
    recipe = build_recipe(file=file, overrides=["train.epochs=11"])
    assert (recipe.preset, recipe.seed, recipe.train.epochs) == ("tiny", 3, 11)
    assert recipe.train.clip is None
    assert recipe.train.cells == preset("tiny").train.cells
    assert build_recipe("tiny", file).preset == "tiny"


def test_a_preset_that_the_file_contradicts_is_refused_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('preset = "tiny"\n')
    with pytest.raises(UserError, match="give one of them"):
        build_recipe("small", tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[operations]\nepoch = 3\n", 'unknown setting "operations.epoch" in'),
        (
            b"epochs = 3\n",
            "did you mean operations.epochs, topology.epochs, halving.epochs or train.epochs",
        ),
        (b"[operations\n", "is not TOML"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"preset = 3\n", "must be a name"),
        (b'preset = "x"\n', 'unknown preset "x"'),
        (b"operations = 3\n", "operations = 3: must be a group of settings"),
        (b"method = 3\n", "method = 3: must be a group of settings"),
        (b'{"method": {"x": null}}', "method holds a null"),
        (b"[operations]\nlr = 2020-01-01\n", 'operations.lr = "2020-01-01"'),
        (b"x = " + b"[" * 50_000, "nested too deeply"),
        (b"method" + b".a" * 50_000 + b" = 1\n", "nested too deeply"),
        (b'{"method":' * 50_000, "nested too deeply"),
        (b'{"method":' + b"[" * 400 + b"]" * 400 + b"}", "nested too deeply"),
        (b"seed = " + b"9" * 5000, "cannot be read|is not TOML|seed = "),
        (b" " * (2**20 + 1), "too many for a recipe"),
    ],
)
def test_a_bad_file_is_named_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        build_recipe(file=file)
    assert any(part in str(caught.value) for part in message.split("|")), str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*nothing\.toml.*a recipe"):
        build_recipe(file=tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "must be an object"),
        ({}, "setting 'preset' is missing"),
        ({**PRESETS["tiny"]().to_json(), "train": {"epochs": 2}}, "'train.cells' is missing"),
        ({**PRESETS["tiny"]().to_json(), "zzz": 1}, 'unknown setting "zzz"'),
    ],
)
def test_a_value_that_is_no_complete_recipe_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        recipe_from_json(value, where="'recipe.json'")
    assert str(caught.value).startswith("'recipe.json': ")


# --- TOML and description --------------------------------------------------------------------

scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
keys = st.text(st.characters(exclude_categories=["Cs"]))
methods = st.dictionaries(
    keys, st.one_of(scalars, st.lists(scalars), st.dictionaries(keys, scalars)), max_size=4
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=methods)
def test_any_method_settings_survive_toml(method: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_from_json({**preset("quick").to_json(), "method": method})
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(recipe), encoding="utf-8", newline="")
    assert build_recipe(file=file) == recipe


def test_the_toml_explains_every_setting() -> None:
    text = to_toml(preset("small"))
    values = tomllib.loads(text)
    for setting in describe():
        section, _, leaf = setting.name.partition(".")
        if section == "method":
            continue
        assert leaf in values[section] if leaf else section in values
        assert f"# {setting.description} ({setting.allowed})\n{leaf or section} = " in text


def test_a_recipe_cannot_be_changed() -> None:
    recipe = preset("tiny")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]  # the point of the test
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 3  # type: ignore[misc]  # the point of the test


def test_settings_built_in_python_are_checked_alike() -> None:
    with pytest.raises(ValueError, match="weight_epochs"):
        OperationSettings(epochs=1, weight_epochs=2, cells=1, channels=1, batch=1, lr=1.0)
    with pytest.raises(UserError, match="three nodes"):
        Recipe.model_validate({**preset("tiny").to_json(), "space": "nasbench201", "nodes": 4})


@pytest.mark.parametrize(
    ("train", "searched", "epochs"),
    [(3000, 3000, (5, 18, 36, 3)), (750, 750, (10, 36, 72, 6)), (12_000, 3000, (5, 18, 36, 3))],
)
def test_fewer_images_get_more_epochs_by_one_over_the_root_of_their_number(
    train: int, searched: int, epochs: tuple[int, ...]
) -> None:
    recipe = preset("quick").model_copy(
        update={"nominal_images": 3000, "halving": HalvingSettings(cells=6, epochs=3)}
    )
    lengths = [
        "operations.epochs=5", "train.epochs=18", "train.published_epochs=36",
        "data.search_limit=3000",
    ]  # fmt: skip
    recipe = changed(recipe, lengths)
    fitted = fitted_to_images(recipe, train, searched)
    longer = fitted.train.published_epochs
    found = (fitted.operations.epochs, fitted.train.epochs, longer, fitted.halving.epochs)
    assert found == epochs
    assert fitted_to_images(fitted, 10, 10) == fitted


@pytest.mark.parametrize(
    ("images", "batch"), [(3000, 64), (1280, 64), (600, 30), (320, 16), (150, 16), (20, 16)]
)
def test_batches_of_few_images_are_smaller_and_rates_fall_with_their_root(
    images: int, batch: int
) -> None:
    recipe = build_recipe("quick", overrides=["train.lr_min=0.01"])
    fitted = fitted_to_images(recipe, images, images)
    assert fitted.train.batch == fitted.operations.batch == fitted.topology.batch == batch
    root = (batch / 64) ** 0.5
    assert fitted.train.lr == pytest.approx(0.1 * root)
    assert fitted.train.lr_min == pytest.approx(0.01 * root)
    assert fitted.operations.lr == pytest.approx(0.1 * root)
    assert fitted.operations.arch_lr == recipe.operations.arch_lr
    assert fitted_to_images(fitted, 10, 10) == fitted


def test_who_sets_a_batch_gets_it() -> None:
    assert build_recipe().least_steps is not None
    own = build_recipe(overrides=["train.batch=48"])
    assert fitted_to_images(own, 100, 100).train.batch == 48
    assert own.nominal_images == build_recipe().nominal_images
    assert build_recipe(overrides=["train.batch=48", "least_steps=5"]).least_steps == 5


def test_who_sets_epochs_gets_them() -> None:
    assert build_recipe().nominal_images is not None
    assert build_recipe(overrides=["train.epochs=30"]).nominal_images is None
    few = build_recipe(overrides=["train.epochs=3"]).train
    assert (few.epochs, few.warmup_epochs, few.published_epochs) == (3, 1, 5)
    own = ["train.epochs=3", "train.warmup_epochs=2", "train.published_epochs=5"]
    train = build_recipe(overrides=own).train
    assert (train.epochs, train.warmup_epochs, train.published_epochs) == (3, 2, 5)
    both = build_recipe(overrides=["train.epochs=30", "nominal_images=100"])
    assert (both.train.epochs, both.nominal_images) == (30, 100)
    assert build_recipe("paper-cifar").nominal_images is None


def test_a_recipe_of_an_earlier_version_means_what_it_did(tmp_path: Path) -> None:
    """What it did not know has the default, not what its preset has now."""
    old = preset("tiny").to_json()
    for name in ("anneal", "schedule", "warmup_epochs", "nesterov", "label_smoothing"):
        del old["train"][name]
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(old))
    recipe = build_recipe(file=file, overrides=["train.epochs=7"])
    train = recipe.train
    assert (train.anneal, train.schedule, train.warmup_epochs) == ("epoch", "cosine", 0)
    assert (train.nesterov, train.label_smoothing, train.epochs) == (False, 0.0, 7)
    assert train.lr == preset("tiny").train.lr
