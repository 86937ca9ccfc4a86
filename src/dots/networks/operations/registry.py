"""Operation name -> module."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from dots.common.errors import UserError
from dots.common.plugins import find_installed
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
from dots.space.search_space import Operation


def _skip(channels: int, stride: int, style: OperationStyle) -> nn.Module:
    if stride == 1:
        return Identity()
    return FactorizedReduce(channels, channels, style.affine)


_BUILDERS: Mapping[str, Operation] = MappingProxyType(
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


def make_operation(
    name: str,
    channels: int,
    stride: int,
    style: OperationStyle,
    own: Mapping[str, Operation] = MappingProxyType({}),
) -> nn.Module:
    """The module of operation `name`, [B, C, H, W] -> [B, C, ⌈H/stride⌉, ⌈W/stride⌉].

    Its forward takes a Source and returns Parts, or None for Zero. `own` makes those of the
    space itself; other names are looked for among what is installed. Raises UserError for a
    name that no module implements, and where what should make it makes another thing.
    """
    build = own.get(name) or _BUILDERS.get(name)
    if build is None:
        found = find_installed("operation", name)
        if found is None:
            raise UserError(f"no network implements the operation {name!r}: {', '.join(_BUILDERS)}")
        build = found.value
    module = build(channels, stride, style)
    if not isinstance(module, nn.Module):
        raise UserError(f"the operation {name!r} makes no torch.nn.Module, but a {type(module)}")
    return module
