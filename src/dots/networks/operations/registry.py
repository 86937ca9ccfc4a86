"""Operation name -> module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from dots.common.errors import UserError
from dots.networks.operations.candidates import (
    DilConv,
    FactorizedReduce,
    Identity,
    Noise,
    OperationStyle,
    Pool,
    ReluConvNorm,
    SepConv,
    Zero,
)
from dots.networks.operations.published import (
    Bottleneck,
    GroupedRowColumn,
    NormedMaxPool,
    RowColumn,
    SmallMaxPool,
)


def _skip(channels: int, stride: int, style: OperationStyle) -> nn.Module:
    if stride == 1:
        return Identity()
    return FactorizedReduce(channels, channels, style.affine)


_Builder = Callable[[int, int, OperationStyle], nn.Module]
_BUILDERS: Mapping[str, _Builder] = MappingProxyType(
    {
        "none": lambda c, s, style: Zero(s),
        "noise": lambda c, s, style: Noise(s),
        "max_pool_3x3": lambda c, s, style: Pool("max", c, s, style.pool_norm),
        "avg_pool_3x3": lambda c, s, style: Pool("avg", c, s, style.pool_norm),
        "skip_connect": _skip,
        "sep_conv_3x3": lambda c, s, style: SepConv(c, 3, s, style.affine),
        "sep_conv_5x5": lambda c, s, style: SepConv(c, 5, s, style.affine),
        "dil_conv_3x3": lambda c, s, style: DilConv(c, 3, s, style.affine),
        "dil_conv_5x5": lambda c, s, style: DilConv(c, 5, s, style.affine),
        "nor_conv_1x1": lambda c, s, style: ReluConvNorm(c, c, 1, s, style.affine),
        "nor_conv_3x3": lambda c, s, style: ReluConvNorm(c, c, 3, s, style.affine),
        "sep_conv_7x7": lambda c, s, style: SepConv(c, 7, s, style.affine),
        "dil_sep_conv_5x5": lambda c, s, style: SepConv(c, 5, s, style.affine, dilation=2),
        "conv_1x1": lambda c, s, style: ReluConvNorm(c, c, 1, s, style.affine),
        "conv_3x3_bottleneck": lambda c, s, style: Bottleneck(c, ((3, 3),), s, style.affine),
        "conv_1x7_7x1_bottleneck": lambda c, s, style: Bottleneck(
            c, ((1, 7), (7, 1)), s, style.affine
        ),
        "conv_3x1_1x3": lambda c, s, style: RowColumn(c, s, style.affine),
        "conv_1x3_3x1_group8": lambda c, s, style: GroupedRowColumn(c, s, style.affine),
        "max_pool_2x2": lambda c, s, style: SmallMaxPool(s),
        "max_pool_3x3_bn": lambda c, s, style: NormedMaxPool(c, s, style.affine),
    }
)


def make_operation(name: str, channels: int, stride: int, style: OperationStyle) -> nn.Module:
    """The module of operation `name`, [B, C, H, W] -> [B, C, ⌈H/stride⌉, ⌈W/stride⌉].

    Its forward takes a Source and returns Parts, or None for Zero. Raises UserError for a
    name that no module implements.
    """
    if name not in _BUILDERS:
        raise UserError(f"no network implements the operation {name!r}: {', '.join(_BUILDERS)}")
    return _BUILDERS[name](channels, stride, style)
