"""The batch norm outside of cells against the stock one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dots.networks.body import Shape
from dots.networks.norm import BatchNorm
from dots.networks.supernet import Supernet
from dots.space.search_space import darts_space


def channels_last(dtype: torch.dtype) -> Tensor:
    x = 3 + 2 * torch.randn(6, 5, 7, 4, generator=torch.Generator().manual_seed(0))
    return x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def outcome(norm: nn.BatchNorm2d, x: Tensor) -> list[Tensor]:
    y = norm(x)
    direction = torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()
    gradients = torch.autograd.grad(y, [x, *norm.parameters()], direction)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return [y.detach(), *gradients, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_equal_to_the_stock_norm(training: bool, folds: bool) -> None:
    ours, stock = BatchNorm(5).double(), nn.BatchNorm2d(5).double()
    ours.folds = folds
    with torch.no_grad():
        for index, parameter in enumerate(ours.parameters()):
            parameter.add_(torch.linspace(index, 1.0, 5))
    stock.load_state_dict(ours.state_dict())
    ours.train(training)
    stock.train(training)
    x = channels_last(torch.float64)
    for a, b in zip(outcome(ours, x), outcome(stock, x.contiguous()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert ours(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("folds", [True, False])
def test_precise_on_large_channels_last_maps(folds: bool) -> None:
    x = (5 + torch.randn(64, 4, 64, 64)).contiguous(memory_format=torch.channels_last)
    exact = nn.BatchNorm2d(4).double()(x.double())
    norm = BatchNorm(4)
    norm.folds = folds
    assert float((norm(x).double() - exact).detach().abs().max()) < 1e-5


def test_a_copy_is_a_norm_of_its_own() -> None:
    norm = BatchNorm(5)
    norm.folds = True
    other = copy.deepcopy(norm)
    other(channels_last(torch.float32))
    assert norm.running_mean is not None
    assert not norm.running_mean.any()
    assert other.running_mean is not None
    assert other.running_mean.all()


def test_fast_networks_fold_and_plain_ones_do_not() -> None:
    for fast in (True, False):
        network = Supernet(darts_space(), Shape(3, 4, 3, 10), fast=fast)
        norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
        assert norms
        assert {norm.folds for norm in norms} == {fast}
