"""Partial channels against slices, concatenation and shuffle written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dots.common.errors import UserError
from dots.nas.strategies.shared.partial_channels import (
    PartialEdge,
    fitting_parts,
    partial_edges,
    shuffled,
)
from dots.networks.kernels.node_sum import combine
from dots.networks.operations.candidates import OperationStyle
from dots.networks.operations.source import Source
from dots.networks.supernet import EdgePlan, MixedEdge

OPERATIONS = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
STYLE = OperationStyle(affine=False, pool_norm=True)


def plan(channels: int, stride: int) -> EdgePlan:
    return EdgePlan("normal", 0, (0, 2), OPERATIONS, channels, stride, STYLE)


def weights() -> list[Tensor]:
    return list(torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15]).unbind())


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("parts", [2, 4])
def test_equals_the_definition(parts: int, size: int, stride: int, fast: bool) -> None:
    torch.manual_seed(0)
    edge = PartialEdge(plan(8, stride), parts).double()
    x = torch.randn(3, 8, size, size, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last)
    gamma = torch.tensor(0.7, dtype=torch.float64)
    every = [True] * len(OPERATIONS)
    output = combine(edge(Source(x, fast=fast), weights(), gamma, every), fast=fast)

    own = 8 // parts
    mixed = combine(edge.inner(Source(x[:, :own], fast=False), weights(), None, every), fast=False)
    bypass = x[:, own:]
    if stride == 2:
        bypass = F.max_pool2d(F.pad(bypass, (0, size % 2) * 2, value=-1e9), 2, 2)
    joined = torch.cat([mixed, bypass], dim=1)
    expected = torch.empty_like(joined)
    for group in range(parts):
        for place in range(own):
            expected[:, place * parts + group] = joined[:, group * own + place]
    torch.testing.assert_close(output, 0.7 * expected)


def test_one_part_is_a_mixed_edge() -> None:
    torch.manual_seed(0)
    edge = PartialEdge(plan(4, 1), 1)
    torch.manual_seed(0)
    mixed = MixedEdge(plan(4, 1))
    x = torch.randn(2, 4, 6, 6)
    every = [True] * len(OPERATIONS)
    gamma = torch.tensor(0.3)
    left = combine(edge(Source(x), weights(), gamma, every), fast=False)
    right = combine(mixed(Source(x), weights(), gamma, every), fast=False)
    assert torch.equal(left, right)


def test_operations_have_a_part_of_the_channels() -> None:
    edge = PartialEdge(plan(8, 1), 4)
    sep = edge.inner.operations[OPERATIONS.index("sep_conv_3x3")]
    assert sep.first.depthwise.weight.shape == (2, 1, 3, 3)


def test_nothing_active_leaves_the_bypass() -> None:
    edge = PartialEdge(plan(4, 2), 2)
    x = torch.randn(2, 4, 5, 5)
    (term,) = edge(Source(x), weights(), None, [False] * len(OPERATIONS))
    assert float(term.weight) == 1
    assert torch.equal(term.features[:, 0::2], torch.zeros(2, 2, 3, 3))
    assert torch.equal(term.features[:, 1::2], F.max_pool2d(x[:, 2:], 2, 2, ceil_mode=True))


def test_shuffled_is_channels_last() -> None:
    x = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last)
    joined = shuffled(x[:, :2], x[:, 2:])
    assert joined.is_contiguous(memory_format=torch.channels_last)


def test_channels_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match="6 channels do not divide into 4 parts"):
        partial_edges(4)(plan(6, 1))


def test_fitting_parts_is_the_largest_divisor_that_fits() -> None:
    cases = {(36, 6): 6, (36, 4): 4, (16, 6): 4, (8, 6): 4, (4, 6): 4, (10, 4): 2, (7, 6): 1}
    for (channels, parts), expected in cases.items():
        assert fitting_parts(channels, parts) == expected
