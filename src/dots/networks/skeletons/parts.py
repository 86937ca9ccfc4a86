"""What fills the cells of other skeletons: inputs of any width, reductions without ReLU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dots.common.errors import UserError
from dots.networks.body import CellPlan
from dots.networks.operations.candidates import FactorizedReduce, OperationStyle, Pool, ReluConvNorm
from dots.networks.operations.published import Bottleneck
from dots.networks.operations.registry import make_operation
from dots.networks.operations.source import Parts, Source, complete
from dots.networks.skeletons.rules import SkeletonRules

_STYLE = OperationStyle(affine=True, pool_norm=False)


class PlainConvNorm(nn.Module):
    """1×1 convolution and batch norm, no ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, source: Source) -> Parts:
        return Parts(source.x, self.conv.weight, self.norm)


class WideningPool(nn.Module):
    """3×3 pooling, then a 1×1 convolution and batch norm to another width."""

    def __init__(self, kind: str, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.pool = Pool(kind, channels_in, stride, norm=False)
        self.pointwise = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, source: Source) -> Parts:
        return Parts(self.pool(source).features, self.pointwise.weight, self.norm)


class WideningSepConv(nn.Module):
    """A separable convolution (twice) whose first 1×1 convolution changes the width."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.body = nn.Sequential(
            nn.Conv2d(
                channels_in, channels_in, kernel, stride, pad, groups=channels_in, bias=False
            ),
            nn.Conv2d(channels_in, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, 1, pad, groups=channels, bias=False),
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, source: Source) -> Parts:
        return Parts(self.body(source.relu), self.pointwise.weight, self.norm)


def _widening(name: str, channels_in: int, channels: int, stride: int) -> nn.Module:
    """The operation `name` on features of another width than the cell's."""
    match name:
        case "max_pool_3x3" | "avg_pool_3x3":
            return WideningPool(name[:3], channels_in, channels, stride)
        case "skip_connect" | "conv_1x1":
            return ReluConvNorm(channels_in, channels, 1, stride, affine=True)
        case "sep_conv_3x3" | "sep_conv_5x5" | "sep_conv_7x7":
            return WideningSepConv(channels_in, channels, int(name[-1]), stride)
        case "conv_3x3_bottleneck":
            return Bottleneck(channels, ((3, 3),), stride, True, channels_in)
        case "conv_1x7_7x1_bottleneck":
            return Bottleneck(channels, ((1, 7), (7, 1)), stride, True, channels_in)
    raise UserError(f"the operation {name!r} cannot change the width, as this skeleton asks")


class OwnPreprocess(nn.Module):
    """Brings the inputs of a cell to its width; the older one may stay as it is."""

    def __init__(self, rules: SkeletonRules, plan: CellPlan) -> None:
        super().__init__()
        (_, older), (width, _) = plan.inputs
        again = rules.twice and width != plan.channels
        newer = [ReluConvNorm(width, plan.channels, 1, 1, affine=True)]
        if again:
            newer.append(ReluConvNorm(plan.channels, plan.channels, 1, 1, affine=True))
        self.older = nn.ModuleList(self._older(plan) if older != "none" else [])
        self.newer = nn.ModuleList(newer)

    @staticmethod
    def _older(plan: CellPlan) -> list[nn.Module]:
        width, step = plan.inputs[0]
        if step == "reduce":
            return [FactorizedReduce(width, plan.channels, affine=True)]
        return [ReluConvNorm(width, plan.channels, 1, 1, affine=True)]

    def forward(self, states: Sequence[Source], fast: bool) -> list[Source]:
        """`states` are the two outputs before the cell, the older one first."""
        sources = []
        for steps, state in zip((self.older, self.newer), states, strict=True):
            for step in steps:
                state = Source(complete(step(state), fast=fast), fast=fast)
            sources.append(state)
        return sources


class OwnParts:
    """The parts of cells in a skeleton with `rules`."""

    def __init__(self, rules: SkeletonRules) -> None:
        self.rules = rules

    def preprocess(self, plan: CellPlan) -> nn.Module:
        return OwnPreprocess(self.rules, plan)

    def operation(self, name: str, node: int, plan: CellPlan) -> nn.Module:
        stride = 2 if plan.reduction and node < len(plan.inputs) else 1
        width = _prepared_width(plan, node)
        if width != plan.channels:
            return _widening(name, width, plan.channels, stride)
        if name == "skip_connect" and stride == 2:
            return self._strided_skip(plan.channels)
        return make_operation(name, plan.channels, stride, _STYLE)

    def _strided_skip(self, channels: int) -> nn.Module:
        if self.rules.strided_skip == "convolution":
            return ReluConvNorm(channels, channels, 1, 2, affine=True)
        return FactorizedReduce(channels, channels, affine=True, relu=False)

    def shortcut(self, node: int, plan: CellPlan) -> nn.Module | None:
        width = _prepared_width(plan, node)
        if plan.reduction:
            return FactorizedReduce(width, plan.channels, affine=True, relu=False)
        return PlainConvNorm(width, plan.channels) if width != plan.channels else None


def _prepared_width(plan: CellPlan, node: int) -> int:
    """The channels of a node: an input that is passed on unprocessed keeps its own."""
    if node == 0 and plan.inputs[0][1] == "none":
        return plan.inputs[0][0]
    return plan.channels
