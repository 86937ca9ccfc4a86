"""Every operation name has a module of the promised shape; those of other spaces by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.networks.operations.registry import make_operation
from dots.networks.operations.source import Source
from dots.space.search_space import (
    DARTS_OPERATIONS,
    FURTHER_OPERATIONS,
    GENOTYPE_OPERATIONS,
    NASBENCH201_OPERATIONS,
    ZERO,
)
from dots.testing import OperationContract
from dots.testing.operations import DERIVED, computed


class TestOperation(OperationContract):
    @pytest.fixture(autouse=True, params=sorted(GENOTYPE_OPERATIONS))
    def _each(self, request: pytest.FixtureRequest) -> None:
        self.operation = partial(make_operation, request.param)


def test_there_is_a_module_for_every_name_and_for_no_other() -> None:
    for name in {*DARTS_OPERATIONS, *NASBENCH201_OPERATIONS, *FURTHER_OPERATIONS}:
        make_operation(name, 8, 1, DERIVED)
    assert make_operation(ZERO, 8, 1, DERIVED)(Source(torch.ones(1, 8, 4, 4))) is None
    with pytest.raises(UserError, match="no network implements the operation 'conv_9x9'"):
        make_operation("conv_9x9", 8, 1, DERIVED)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # depthwise k·k·C and pointwise C·C and norm 2C, twice
        ("sep_conv_7x7", 2 * (49 * 16 + 16 * 16 + 32)),
        ("dil_sep_conv_5x5", 2 * (25 * 16 + 16 * 16 + 32)),
        ("conv_1x1", 16 * 16 + 32),
        # 16 -> 4, the kernel on 4 channels, 4 -> 16, a norm after each
        ("conv_3x3_bottleneck", 16 * 4 + 8 + 9 * 4 * 4 + 8 + 4 * 16 + 32),
        ("conv_1x7_7x1_bottleneck", 16 * 4 + 8 + 2 * (7 * 4 * 4 + 8) + 4 * 16 + 32),
        ("conv_3x1_1x3", 2 * 3 * 16 * 16 + 32),
        ("conv_1x3_3x1_group8", 2 * 3 * 16 * 2 + 32 + 16 * 16 + 32),
        ("max_pool_2x2", 0),
        ("max_pool_3x3_bn", 32),
        ("noise", 0),
    ],
)
def test_parameters_of_further_operations_by_hand(name: str, expected: int) -> None:
    operation = make_operation(name, 16, 2, DERIVED)
    assert sum(p.numel() for p in operation.parameters()) == expected


def test_small_max_pool_by_hand() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3) - 100  # negative: padding must not win
    assert computed(make_operation("max_pool_2x2", 1, 1, DERIVED), x).flatten().tolist() == [
        v - 100 for v in (4.0, 5, 5, 7, 8, 8, 7, 8, 8)
    ]
    assert computed(make_operation("max_pool_2x2", 1, 2, DERIVED), x).flatten().tolist() == [
        v - 100 for v in (4.0, 5, 7, 8)
    ]


def test_grouped_convolution_takes_the_most_groups_that_divide() -> None:
    operation = make_operation("conv_1x3_3x1_group8", 12, 2, DERIVED)
    groups = [m.groups for m in operation.modules() if isinstance(m, nn.Conv2d)]
    assert groups == [6, 6, 1]


@pytest.mark.parametrize("size", [(4, 6), (5, 4), (3, 5), (1, 1)])
def test_derivatives_of_the_two_halves_of_a_map(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)

    def halves(x: Tensor) -> tuple[Tensor, Tensor]:
        return Source(x.relu()).halves

    assert torch.autograd.gradcheck(halves, (x,))
    assert torch.autograd.gradgradcheck(halves, (x,))
    even, odd = halves(x)
    assert even.shape == odd.shape
    assert torch.equal(even, x.relu()[:, :, ::2, ::2])
    rows, columns = size[0] // 2, size[1] // 2
    assert torch.equal(odd[:, :, :rows, :columns], x.relu()[:, :, 1::2, 1::2])
    assert not odd[:, :, rows:].any()
    assert not odd[..., columns:].any()
