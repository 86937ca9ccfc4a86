"""Compiled networks give what plain ones give, and what cannot be compiled runs as it is."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import Tensor, nn

from dots import zoo
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.supernet import Mixture, Supernet
from dots.space.search_space import darts_space
from dots.training import compile as compiling
from dots.training.compile import Compiler
from helpers.compilers import counting, refusing

CPU = torch.device("cpu")


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, None]:
        return self(images), None


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of compiled methods, as they are called."""
    names: list[str] = []
    monkeypatch.setattr(torch, "compile", counting(names))
    return names


def test_the_methods_that_stages_call_are_compiled(compiled: list[str]) -> None:
    said: list[str] = []
    network = Doubled()
    Compiler(CPU, said.append)(network)
    compiled.clear()
    assert network(torch.ones(2)).tolist() == [2.0, 2.0]
    assert network.forward_with_auxiliary(torch.ones(1))[0].tolist() == [2.0]
    assert compiled == ["forward", "forward_with_auxiliary", "forward"]
    assert not said


@pytest.mark.usefixtures("compiled")
def test_a_copy_has_weights_of_its_own() -> None:
    network = Doubled()
    Compiler(CPU, print)(network)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.factor.fill_(5.0)
    assert network(torch.ones(())).detach().item() == 2.0
    assert other(torch.ones(())).detach().item() == 5.0


def test_without_a_compiler_networks_stay_as_they_are_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", refusing("no C++ compiler found\nand much more"))
    said: list[str] = []
    compiler, network = Compiler(CPU, said.append), Doubled()
    compiler(network)
    assert network(torch.ones(())).detach().item() == 2.0
    assert "forward" not in vars(network)
    assert said == [
        "torch.compile does not work here, so networks run uncompiled: no C++ compiler found"
    ]


def test_a_network_that_cannot_be_compiled_runs_as_it_is(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    compiler = Compiler(CPU, said.append)
    monkeypatch.setattr(torch, "compile", refusing("this network is too clever"))
    network = Doubled()
    compiler(network)
    for _ in range(3):
        assert network(torch.ones(())).detach().item() == 2.0
    assert [line.rpartition(": ")[2] for line in said] == ["this network is too clever"]


def test_an_error_of_the_network_is_no_reason_to_go_on(compiled: list[str]) -> None:
    said: list[str] = []
    network = Doubled()
    Compiler(CPU, said.append)(network)
    with pytest.raises(TypeError):
        network("no tensor", "too many")
    assert not said


def test_what_is_called_exists() -> None:
    assert hasattr(Supernet, compiling.METHODS[0])
    assert all(hasattr(DerivedNetwork, name) for name in compiling.METHODS)


def small_supernet() -> tuple[Supernet, dict[str, Mixture]]:
    space = darts_space(1)
    network = Supernet(space, Shape(3, 4, 3, 10), fast=False)
    count = (len(space.cell.edges), len(space.operations))
    mixtures = {kind: Mixture(torch.rand(count, requires_grad=True)) for kind in space.kinds}
    return network, mixtures


# of PyTorch 2.5, about what its own compiler does with functions of their own gradient
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_networks_are_one_graph() -> None:
    """Else each part is compiled for each width, and most of them not at all."""
    torch.compiler.reset()
    # as the data give them
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    network, mixtures = small_supernet()
    torch.compile(network, backend="eager", fullgraph=True)(images, mixtures)
    derived = DerivedNetwork(zoo.load("DOTS_C10").genotype, Shape(3, 4, 3, 10), fast=False)
    torch.compile(derived.forward_with_auxiliary, backend="eager", fullgraph=True)(images)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")  # PyTorch's own, about its own
def test_compiled_and_plain_agree() -> None:
    torch.compiler.reset()
    images = torch.randn(8, 3, 8, 8)
    network, mixtures = small_supernet()
    parameters = [*network.parameters(), *(m.operations for m in mixtures.values())]
    said: list[str] = []

    def outcome() -> list[Tensor]:
        logits = network(images, mixtures)
        gradients = torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True)
        return [logits.detach(), *(g for g in gradients if g is not None)]

    plain = outcome()
    Compiler(CPU, said.append)(network)
    for a, b in zip(plain, outcome(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    if shutil.which("g++"):
        assert not said
