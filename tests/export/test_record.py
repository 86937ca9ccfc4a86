"""The layer list is the network: the same numbers in float64, also in a training step."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dots import zoo
from dots.common.errors import UserError
from dots.export.interpret import LayerNetwork
from dots.export.layers import LayerList
from dots.export.names import CellNames
from dots.export.package import names_of
from dots.export.record import record
from dots.nas.random_cell import random_genotype
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.skeletons import RULES, OwnNetwork
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import named_space
from dots.zoo.sizes import own_skeleton
from helpers.exported_run import shaken


def recorded(network: nn.Module, size: int) -> tuple[LayerList, LayerNetwork]:
    layers = record(network, (3, size, size), names_of(network))
    return layers, LayerNetwork(layers, network.state_dict())


def assert_same(network: nn.Module, size: int) -> None:
    """In evaluation, and in one training step: logits, gradients, running statistics."""
    shaken(network.double())
    layers, twin = recorded(network, size)
    images = torch.randn(3, 3, size, size, dtype=torch.float64)
    labels = torch.tensor([0, 1, 4])
    torch.testing.assert_close(twin.eval()(images), network.eval()(images), rtol=1e-9, atol=1e-10)
    for module in (network, twin):
        module.train()
        nn.functional.cross_entropy(module(images), labels).backward()
    trained = dict(network.named_parameters()) | dict(network.named_buffers())
    for name in layers.tensors:
        old, new = trained[name], twin.tensor(name)
        torch.testing.assert_close(new.data, old.data, rtol=1e-9, atol=1e-10)
        if old.requires_grad:
            assert old.grad is not None
            torch.testing.assert_close(new.grad, old.grad, rtol=1e-8, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(
    space=st.sampled_from(["darts", "nasbench201", "s2", "s3"]),
    seed=st.integers(0, 10_000),
    size=st.integers(8, 13),
    stem=st.sampled_from(["cifar", "pooled", "strided", "imagenet"]),
)
def test_any_cell_of_any_space(space: str, seed: int, size: int, stem: str) -> None:
    genotype = random_genotype(named_space(space, None), "any", seed)
    size = 32 + size if stem == "imagenet" else size
    shape = Shape(3, 4, 3, 5, stem=stem)  # type: ignore[arg-type]
    assert_same(DerivedNetwork(genotype, shape), size)


@pytest.mark.parametrize("name", ["NASNet_A_tf", "AmoebaNet_C_tf", "PNASNet5_tf", "ENAS_micro"])
def test_published_cells_in_their_own_skeletons(name: str) -> None:
    rules = RULES[own_skeleton(name)]
    assert_same(OwnNetwork(zoo.load(name).genotype, rules, Shape(3, 8, 3, 5)), 9)


@pytest.mark.parametrize("name", ["GDAS_FRC", "SETN"])
def test_operations_of_other_spaces(name: str) -> None:
    assert_same(DerivedNetwork(zoo.load(name).genotype, Shape(3, 8, 3, 5)), 9)


def test_a_batch_norm_in_the_head() -> None:
    genotype = zoo.load("DARTS_V2").genotype
    assert_same(DerivedNetwork(genotype, Shape(2, 4, 3, 5, head_norm=True)), 8)


def test_layers_are_called_after_nodes_and_edges() -> None:
    cell = Cell(((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),), (2,))
    network = DerivedNetwork(Genotype({"normal": cell, "reduce": cell}), Shape(4, 4, 3, 5))
    layers, _ = recorded(network, 8)
    names = [layer.name for layer in layers.layers]
    assert "cells.0.node2" in names
    assert "cells.3.node2.edge1.first.depthwise" in names
    assert layers.parts["cells.0"].splitlines()[1] == "node 2 = sep_conv_3x3(0) + skip_connect(1)"
    assert layers.layers[-1].part == "head"


def test_recording_leaves_the_network_as_it_was() -> None:
    network = DerivedNetwork(zoo.load("DARTS_V2").genotype, Shape(2, 4, 3, 5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    recorded(network, 8)
    assert network.training
    assert network.fast
    assert all(torch.equal(before[n], tensor) for n, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


class Odd(nn.Module):
    """Does one thing that no layer does."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        match self.what:
            case "sigmoid":
                return torch.sigmoid(x)
            case "product":
                return x * x
            case "noise":
                return torch.randn_like(x)
            case "average of padding":
                return nn.functional.avg_pool2d(x, 3, 1, 1)
            case "part":
                return x[:, :2]
            case "dilated pool":
                return nn.functional.max_pool2d(x, 2, dilation=2)
            case "rows":
                return torch.cat([x, x], dim=2)
        return nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")


@pytest.mark.parametrize(
    "what",
    ["sigmoid", "product", "noise", "average of padding", "part", "dilated pool", "rows", "mirror"],
)
def test_what_no_layer_does_is_refused(what: str) -> None:
    with pytest.raises(UserError, match="cannot be exported"):
        record(Odd(what), (3, 9, 9), CellNames(0, {}, {}))


def test_noise_cells_cannot_be_exported() -> None:
    cell = Cell(((Edge("noise", 0), Edge("sep_conv_3x3", 1)),), (2,))
    network = DerivedNetwork(Genotype({"normal": cell, "reduce": cell}), Shape(2, 4, 3, 5))
    with pytest.raises(UserError, match="'randn'"):
        recorded(network, 8)


def test_nodes_that_are_zero_cannot_be_exported() -> None:
    cell = Cell(((Edge("none", 0),), (Edge("sep_conv_3x3", 1),)), (2, 3))
    network = DerivedNetwork(Genotype({"normal": cell, "reduce": cell}), Shape(2, 4, 3, 5))
    with pytest.raises(UserError, match="'zeros_like'"):
        recorded(network, 8)
