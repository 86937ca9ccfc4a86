"""Whole networks and stages on the kernels in C++: those of plain kernels up to rounding.

Other tests of stages have too few channels for these kernels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.nas.random_cell import random_genotype
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.kernels import native
from dots.networks.supernet import Supernet
from dots.space.retain import retain
from dots.space.search_space import SearchSpace, darts_space, nasbench201_space
from helpers import small
from helpers.kinks import smooth_seed
from helpers.native_kernels import kernels, no_kernels
from helpers.stages import GRADIENT, SMALL, agree_in_a_run, annealed, apart, searched
from helpers.stages import MEDIUM as SPACE

__all__ = ["kernels", "no_kernels"]  # fixtures

WIDE = Shape(cells=3, channels=16, image_channels=3, classes=5)


@pytest.fixture
def calls(kernels: native.Kernels, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each block: or a test would say nothing."""
    found: list[int] = []
    forward = kernels.block_forward

    def counted(*arguments: Any) -> Any:
        found.append(1)
        return forward(*arguments)

    monkeypatch.setattr(kernels, "block_forward", counted)
    return found


def gradients(net: Supernet, images: Tensor, labels: Tensor) -> list[Tensor]:
    """The loss, those of weights and of mixtures, and the running statistics."""
    mixtures = small.random_mixtures(net)
    weights = [t for m in mixtures.values() for t in (m.operations, m.edges) if t is not None]
    loss = F.cross_entropy(net(images, mixtures), labels)
    inputs = [*net.parameters(), *weights]
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    kept = [torch.zeros(()) if g is None else g for g in found]
    return [loss.detach(), *kept, *(b for b in net.buffers() if b.is_floating_point())]


def compared(a: list[Tensor], b: list[Tensor]) -> None:
    for value, reference in zip(a, b, strict=True):
        size = reference.abs().max() + 1e-3
        torch.testing.assert_close(value / size, reference / size, rtol=0, atol=2e-3)


def compare_supernets(space: SearchSpace, *, low_memory: bool = False) -> None:
    """Of fast and plain kernels, where the gradient does not hang on how a sum is rounded."""
    batch = small.batch(images=4, size=8)

    def net(seed: int, *, fast: bool) -> Supernet:
        torch.manual_seed(seed)
        return Supernet(space, WIDE, fast=fast, low_memory=low_memory and fast)

    def forward(seed: int) -> None:
        plain = net(seed, fast=False)
        plain(batch.images, small.random_mixtures(plain))

    seed = smooth_seed(forward)
    both = (net(seed, fast=fast) for fast in (True, False))
    compared(*(gradients(each, batch.images, batch.labels) for each in both))


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("space", [darts_space(nodes=2), nasbench201_space()], ids=lambda s: s.name)
def test_a_supernet(calls: list[int], space: SearchSpace, low_memory: bool) -> None:
    compare_supernets(space, low_memory=low_memory)
    assert len(calls) > 0 or space.name == "nasbench201"


def test_a_supernet_where_none_were_built(no_kernels: None) -> None:
    compare_supernets(SPACE)


def test_a_derived_network_with_dropped_paths(calls: list[int]) -> None:
    genotype = random_genotype(darts_space(), "pairs", seed=3)
    batch, results = small.batch(images=12, size=32), []
    for fast in (True, False):
        torch.manual_seed(0)
        net = DerivedNetwork(genotype, WIDE, auxiliary=True, fast=fast)
        net.drop_path = 0.3
        torch.manual_seed(1)
        logits, extra = net.forward_with_auxiliary(batch.images)
        assert extra is not None
        loss = F.cross_entropy(logits, batch.labels) + F.cross_entropy(extra, batch.labels)
        loss.backward()
        results.append([loss.detach(), *(_gradient(p) for p in net.parameters()), *net.buffers()])
    assert len(calls) > 0
    compared(*[[x.float() for x in result] for result in results])


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_alpha_is_the_same_to_1e_5_after_20_steps(calls: list[int]) -> None:
    def distance(seed: int) -> float:
        plain, fast = (
            searched("darts", 20, seed, space=SMALL, channels=16, fast=f, lr=0.025, arch_lr=3e-4)
            for f in (False, True)
        )
        return apart(plain.architecture_parameters(), fast.architecture_parameters())

    agree_in_a_run(distance, 20 * 3e-4)
    assert len(calls) > 0


def test_beta_is_the_same_to_1e_5_after_20_steps(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "SHAPE", WIDE)

    def distance(seed: int) -> float:
        plain, fast = (annealed(20, seed, fast=f, arch_lr=3e-4) for f in (False, True))
        return apart(plain.architecture, fast.architecture)

    agree_in_a_run(distance, 20 * 3e-4)
    assert len(calls) > 0


@pytest.mark.parametrize("name", GRADIENT)
def test_every_method_takes_the_same_steps(calls: list[int], name: str) -> None:
    plain, fast = (searched(name, 2, channels=16, fast=f, lr=0.01) for f in (False, True))
    for a, b in zip(plain.supernet.parameters(), fast.supernet.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)
    for search in (plain, fast):
        assert set(retain(SPACE, search.scores(), "group-v2")) == set(SPACE.kinds)
