"""Choices in a model, the search through both stages, and what is derived."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import dots
from dots.common.errors import UserError
from dots.nas.own_models import Choices, InputChoice, LayerChoice, SelectedInputs, derive, search
from dots.nas.own_models.network import ModelSupernet, model_space
from dots.nas.own_models.search import WITHOUT_CELL, _retained
from dots.nas.strategies import STRATEGIES
from dots.networks.supernet import Mixture
from helpers import own_models

SHORT: dict[str, dict[str, Any]] = {
    "operations": {"epochs": 2, "batch": 8, "weight_epochs": 0},
    "topology": {"epochs": 1, "batch": 8},
}
METHOD = {"proxyless-nas": {"weight_steps": 1}, "shapley-nas": {"permutations": 1}}


def test_open_layers_are_averaged_and_open_inputs_summed() -> None:
    layers = LayerChoice({"same": nn.Identity(), "none": nn.ReLU()})
    x = torch.tensor([-2.0, 4.0])
    assert torch.equal(layers(x), torch.tensor([-1.0, 4.0]))
    assert torch.equal(InputChoice(2)([x, lambda: x]), 2 * x)


def test_choices_with_a_label_are_decided_together() -> None:
    def choice() -> LayerChoice:
        return LayerChoice({"a": nn.Identity(), "b": nn.ReLU()}, label="one")

    net = nn.Sequential(choice(), nn.Tanh(), choice())
    space = model_space(net, inputs=True)
    assert space.kinds == ("layer:one",)
    plain = derive(net, Choices({"one": "b"}, {}))
    assert [type(module) for module in plain] == [nn.ReLU, nn.Tanh, nn.ReLU]
    net.append(LayerChoice({"b": nn.ReLU()}, label="one"))
    with pytest.raises(UserError, match="label 'one' differ"):
        model_space(net, inputs=True)


def test_of_several_groups_the_best_of_each_goes_on() -> None:
    names = ("a", "b", "c", "d", "single")
    layers = LayerChoice({name: nn.Identity() for name in names}, groups=(*("ab", "cd"), names[4:]))
    assert layers.groups == (("a", "b"), ("c", "d", "single"))
    space = model_space(nn.Sequential(layers), inputs=True)
    kept = _retained(space, {"layer:0": [[0.4, 0.5, 0.1, 0.2, 0.3]]}, 3)
    assert kept == {"layer:0": (("1", "4"),)}
    plain = model_space(nn.Sequential(LayerChoice({"a": nn.ReLU(), "b": nn.ReLU()})), inputs=True)
    assert _retained(plain, {"layer:0": [[0.4, 0.5]]}, 1) == {"layer:0": (("1",),)}


def test_a_mixture_weighs_what_runs_and_leaves_nothing_behind() -> None:
    model = nn.Sequential(LayerChoice({"same": nn.Identity(), "twice": _times(2.0)}))
    space = model_space(model, inputs=False)
    net = ModelSupernet(space, model, space.full_candidates)
    alpha = torch.tensor([[0.25, 0.5]], requires_grad=True)
    x = torch.ones(1, 3)
    assert torch.equal(net(x, {"layer:0": Mixture(alpha)}), 1.25 * x)
    assert torch.equal(net(x, {"layer:0": Mixture(alpha, active=((True, False),))}), 0.25 * x)
    deepcopy(net.model)  # which a tensor of a graph would prevent
    with pytest.raises(TypeError):
        net("no tensor", {"layer:0": Mixture(alpha)})
    deepcopy(net.model)


def test_derived_networks_are_plain_and_compute_what_the_choices_say() -> None:
    model = own_models.model()
    block = model[1]
    choices = Choices({"1.conv": "3", "1.last": "none"}, {"1.join": (0, 1)})
    plain = derive(model, choices)
    kinds = {type(module) for module in plain.modules()}
    assert not kinds & {LayerChoice, InputChoice}
    assert isinstance(plain[1].conv, nn.Conv2d)
    assert isinstance(plain[1].join, SelectedInputs)
    x = torch.randn(2, 3, 8, 8)
    y = model[0](x)
    expected = y + block.conv.operations[1](y)
    assert torch.equal(plain(x), model[2:](expected))
    assert isinstance(model[1].conv, LayerChoice)  # the given one stays as it was


def test_inputs_that_were_not_chosen_are_not_computed() -> None:
    def fails() -> Tensor:
        raise AssertionError

    assert torch.equal(SelectedInputs((0,))([torch.ones(1), fails]), torch.ones(1))


def test_choices_within_choices_and_a_model_that_is_one() -> None:
    inner = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, label="inner")
    model = LayerChoice({"block": nn.Sequential(inner), "same": nn.Identity()})
    plain = derive(model, Choices({"model": "block", "inner": "tanh"}, {}))
    assert isinstance(plain, nn.Sequential)
    assert isinstance(plain[0], nn.Tanh)


@pytest.mark.parametrize("strategy", WITHOUT_CELL)
def test_every_strategy_that_needs_no_cell_decides_everything(strategy: str) -> None:
    model, images = own_models.model(), own_models.images()
    before = deepcopy(model.state_dict())
    found = search(
        model, images, strategy=strategy, method=METHOD.get(strategy), device="cpu", **SHORT
    )
    assert found.choices.layers.keys() == {"1.conv", "1.last"}
    assert found.choices.inputs.keys() == {"1.join"}
    assert found.scores["1.conv"].keys() == {"1", "3", "5"}
    assert found.scores["1.last"].keys() == {"conv", "none"}
    assert [row["stage"] for row in found.rows][-1] == "topology"
    network = found.network()
    assert network(images.tensors[0]).shape == (16, 5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_other_strategies_say_that_they_need_a_cell() -> None:
    for name in STRATEGIES.keys() - WITHOUT_CELL.keys():
        with pytest.raises(UserError, match="needs the edges of a cell"):
            search(own_models.model(), own_models.images(), strategy=name)
        with pytest.raises(UserError):
            search(own_models.model(), own_models.images(), strategy=STRATEGIES[name], **SHORT)


def test_the_same_seed_finds_the_same() -> None:
    first, second, other = (
        search(own_models.model(), own_models.images(), seed=seed, device="cpu", **SHORT)
        for seed in (3, 3, 4)
    )
    assert first.scores == second.scores
    assert first.scores != other.scores
    assert first.choices == second.choices


@pytest.mark.parametrize("strategy", ["darts", "gdas", "fair-darts"])
def test_what_carries_the_signal_is_found(strategy: str) -> None:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randn(256, 2, generator=draws)
    images = TensorDataset(pixels, (pixels[:, 0] > 0).long())

    class Planted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = LayerChoice({"nothing": _times(0.0), "same": nn.Identity()})
            self.join = InputChoice(3, keep=1)
            self.last = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            noise = x.flip(0)
            logits: Tensor = self.last(self.join([noise, self.layer(x), torch.zeros_like(x)]))
            return logits

    torch.manual_seed(0)
    changes = {"epochs": 4, "batch": 16, "lr": 0.2, "arch_lr": 0.05, "weight_epochs": 1}
    found = search(
        Planted(), images, strategy=strategy, operations=changes, topology=changes, device="cpu"
    )
    assert found.choices == Choices({"layer": "same"}, {"join": (1,)})


def test_stages_without_anything_to_decide_are_left_out() -> None:
    images = own_models.images()
    layers = own_models.model(block=LayerChoice({"a": nn.Identity(), "b": nn.ReLU()}))
    found = search(layers, images, retain=1, device="cpu", **SHORT)
    assert {row["stage"] for row in found.rows} == {"operations"}

    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.join = InputChoice(2, keep=1)

        def forward(self, x: Tensor) -> Tensor:
            joined: Tensor = self.join([x, x.relu()])
            return joined

    found = search(own_models.model(block=Join()), images, device="cpu", **SHORT)
    assert {row["stage"] for row in found.rows} == {"topology"}
    assert found.choices.layers == {}


def test_epochs_are_told_and_held_out_images_may_train_the_inputs() -> None:
    told: list[str] = []
    settings = {**SHORT, "topology": {**SHORT["topology"], "held_out": True, "select": "average"}}
    search(
        own_models.model(), own_models.images(), device="cpu", precision="64",
        told=lambda row: told.append(row["stage"]), **settings,
    )  # fmt: skip
    assert told == ["operations", "operations", "topology"]


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "no layers": (lambda: LayerChoice({}), "at least one"),
    "groups": (lambda: LayerChoice({"a": nn.ReLU(), "b": nn.ReLU()}, groups=["a"]), "a, b once"),
    "no inputs": (lambda: InputChoice(0), "1 to 12 inputs"),
    "keep": (lambda: InputChoice(3, keep=0), "not 0"),
    "inputs given": (lambda: InputChoice(2)([torch.ones(1)]), "was given 1"),
    "no choice": (lambda: search(nn.ReLU(), own_models.images()), "nothing to choose"),
    "retain": (lambda: _search(retain=0), "retain = 0"),
    "strategy": (lambda: _search(strategy="dart"), "did you mean"),
    "method": (lambda: _search(strategy="snas", method={"drop_path": 0.3}), "method.drop_path"),
    "unknown": (lambda: _search(method={"tau": 1}), "no setting 'tau'"),
    "settings": (lambda: _search(operations={"epochs": 0}), r"operations\.epochs = 0"),
    "select": (lambda: _search(topology={"select": "perturbation"}), r"topology\.select"),
    "classifier": (lambda: search(own_models.Block(3), own_models.images()), "no classifier"),
    "one image": (lambda: _search(count=1), "has 1"),
    "undecided": (lambda: derive(own_models.model(), Choices({}, {})), "no layer null"),
    "no positions": (
        lambda: derive(own_models.model(), Choices({"1.conv": "3", "1.last": "conv"}, {})),
        "no inputs",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line(name: str) -> None:
    call, line = WRONG[name]
    with pytest.raises(dots.UserError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)


def _search(count: int = 16, **settings: Any) -> object:
    return search(own_models.model(), own_models.images(count), device="cpu", **settings)


class _times(nn.Module):  # noqa: N801 - reads as a function
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * torch.as_tensor(x)
