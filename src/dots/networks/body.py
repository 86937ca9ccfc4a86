"""Stems, cell stacking and heads: written once, for supernets and for derived networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.networks.norm import BatchNorm
from dots.networks.operations.candidates import FactorizedReduce, OperationStyle, ReluConvNorm
from dots.networks.operations.source import Source, complete
from dots.space.search_space import SearchSpace

Stem = Literal["cifar", "pooled", "strided", "imagenet"]
STEM_HALVINGS: Mapping[Stem, int] = MappingProxyType(
    {"cifar": 0, "pooled": 1, "strided": 1, "imagenet": 3}
)
"""How often a stem halves the resolution."""
POOLED_FROM = 24
"""Pixels from which "auto" is the pooled stem: it takes a third of the time, and loses little."""
InputStep = Literal["none", "conv", "reduce"]


@dataclass(frozen=True)
class CellPlan:
    """What one cell of a network is: its kind, width, and how its inputs are prepared.

    `inputs` gives for each input node its channels and the preprocessing: "none", "conv"
    (ReLU, 1×1 convolution, batch norm), or "reduce" (which also halves the resolution).
    `transition` are the channels (in, out) of a residual block that halves the resolution
    before the cell, or None.
    """

    kind: str
    index: int
    channels: int
    reduction: bool
    inputs: tuple[tuple[int, InputStep], ...]
    transition: tuple[int, int] | None = None


@dataclass(frozen=True)
class Shape:
    """The size of a network: cells, initial channels, image channels, classes, stem."""

    cells: int
    channels: int
    image_channels: int
    classes: int
    stem: Stem = "cifar"
    head_norm: bool = False
    """The authors' release: a batch norm and a ReLU before the global pooling."""


def stem_for(choice: Stem | Literal["auto"], image_size: int) -> Stem:
    """The stem that a recipe means for images of so many pixels a side."""
    if choice != "auto":
        return choice
    return "pooled" if image_size >= POOLED_FROM else "cifar"


def reductions(cells: int) -> tuple[int, ...]:
    """The positions of the reduction cells: a third and two thirds of the way (Sec. 5.1)."""
    return tuple(sorted({cells // 3, 2 * cells // 3}))


def stem_channels(shape: Shape, searching: bool) -> int:
    """Channels that leave the stem: 3C, but C in a derived network of the ImageNet skeleton."""
    return shape.channels if shape.stem == "imagenet" and not searching else 3 * shape.channels


def plan_darts(
    shape: Shape, inputs: int, multipliers: Mapping[str, int], searching: bool
) -> list[CellPlan]:
    """The cells of the DARTS skeleton; `multipliers` are a cell's output nodes, by kind."""
    history = [stem_channels(shape, searching)] * inputs
    channels, after_reduction = shape.channels, shape.stem == "imagenet"
    plans = []
    for index in range(shape.cells):
        reduction = index in reductions(shape.cells)
        kind = "reduce" if reduction else "normal"
        channels *= 2 if reduction else 1
        older: InputStep = "reduce" if after_reduction else "conv"
        steps: list[InputStep] = [older] * (inputs - 1) + ["conv"]
        plans.append(
            CellPlan(kind, index, channels, reduction, tuple(zip(history, steps, strict=True)))
        )
        history = [*history[1:], channels * multipliers[kind]]
        after_reduction = reduction
    return plans


def plan_nasbench201(shape: Shape) -> list[CellPlan]:
    """Three stages of equal length, a residual block before the second and third."""
    if shape.cells % 3:
        raise UserError(
            f"the nasbench201 skeleton has three equal stages: {shape.cells} cells do not "
            "divide by 3"
        )
    length, plans = shape.cells // 3, []
    for index in range(shape.cells):
        stage = index // length
        channels = shape.channels * 2**stage
        transition = (channels // 2, channels) if stage and index % length == 0 else None
        plans.append(CellPlan("normal", index, channels, False, ((channels, "none"),), transition))
    return plans


class ConvNorm(nn.Sequential):
    """3×3 convolution, batch norm."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), BatchNorm(channels)
        )


class ImageNetStem(nn.Module):
    """Three 3×3 convolutions at stride 2; the first two give s0, the third s1."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.stem0 = nn.Sequential(
            ConvNorm(channels_in, half, 2), nn.ReLU(), ConvNorm(half, channels, 2)
        )
        self.stem1 = nn.Sequential(nn.ReLU(), ConvNorm(channels, channels, 2))

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.stem0(images)
        return [first, self.stem1(first)]


class PooledConvNorm(nn.Sequential):
    """3×3 convolution, max pooling to half the resolution, batch norm."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
            nn.MaxPool2d(2, ceil_mode=True),
            BatchNorm(channels),
        )


def plain_stem(channels_in: int, channels: int, stem: Stem) -> nn.Sequential:
    """One 3×3 convolution and batch norm, as the stem's name says; "imagenet" is another."""
    if stem == "pooled":
        return PooledConvNorm(channels_in, channels)
    return ConvNorm(channels_in, channels, 2 if stem == "strided" else 1)


class PlainStem(nn.Module):
    """One 3×3 convolution and batch norm, the same features for every input of the cell."""

    def __init__(self, channels_in: int, channels: int, inputs: int, stem: Stem = "cifar") -> None:
        super().__init__()
        self.conv = plain_stem(channels_in, channels, stem)
        self.inputs = inputs

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.conv(images)] * self.inputs


class ResidualReduction(nn.Module):
    """NAS-Bench-201's block between stages: two convolutions and a pooled shortcut."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.ReLU(), ConvNorm(channels_in, channels, 2))
        self.second = nn.Sequential(nn.ReLU(), ConvNorm(channels, channels))
        self.shortcut = nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False))
        output: Tensor = self.second(self.first(x)) + shortcut
        return output


class Preprocess(nn.Module):
    """Brings a cell's inputs to the cell's width and resolution."""

    def __init__(self, plan: CellPlan, affine: bool) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            self._step(channels, plan.channels, step, affine) for channels, step in plan.inputs
        )

    @staticmethod
    def _step(channels_in: int, channels: int, step: InputStep, affine: bool) -> nn.Module:
        match step:
            case "none":
                return nn.Identity()
            case "conv":
                return ReluConvNorm(channels_in, channels, 1, 1, affine)
            case "reduce":
                return FactorizedReduce(channels_in, channels, affine)

    def forward(self, states: Sequence[Source], fast: bool) -> list[Source]:
        """`states` are the outputs before the cell, oldest first."""
        return [
            state
            if isinstance(step, nn.Identity)
            else Source(complete(step(state), fast=fast), fast=fast)
            for step, state in zip(self.steps, states, strict=True)
        ]


CellCall = Callable[[nn.Module, list[Source]], Source]


class Body(nn.Module):
    """A stem, a stack of cells and a classifier; how a cell is called is up to the caller."""

    def __init__(
        self,
        space: SearchSpace,
        shape: Shape,
        make_cell: Callable[[CellPlan], nn.Module],
        *,
        searching: bool,
        multipliers: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.inputs = space.cell.inputs
        benchmark = space.skeleton == "nasbench201"
        if benchmark:
            plans = plan_nasbench201(shape)
        else:
            plans = plan_darts(shape, self.inputs, multipliers, searching)
        self.plans = tuple(plans)
        self.stem: nn.Module
        if shape.stem == "imagenet" and not benchmark:
            self.stem = ImageNetStem(shape.image_channels, stem_channels(shape, searching))
        else:
            width = shape.channels if benchmark else stem_channels(shape, searching)
            stem: Stem = "cifar" if benchmark else shape.stem
            self.stem = PlainStem(shape.image_channels, width, self.inputs, stem)
        self.transitions = nn.ModuleList(
            ResidualReduction(*plan.transition) if plan.transition else nn.Identity()
            for plan in plans
        )
        self.cells = nn.ModuleList(make_cell(plan) for plan in plans)
        last = plans[-1]
        width = last.channels * multipliers[last.kind]
        normed = shape.head_norm or benchmark
        self.head = nn.Sequential(BatchNorm(width), nn.ReLU()) if normed else nn.Identity()
        self.classifier = nn.Linear(width, shape.classes)

    def states(self, images: Tensor, call: CellCall, fast: bool) -> list[Source]:
        """The outputs of all cells; `call(cell, states)` runs one on the states before it."""
        states: list[Source] = []
        for x in self.stem(images):
            same = len(states) > 0 and states[-1].x is x
            states.append(states[-1] if same else Source(x, fast=fast))
        outputs = []
        for transition, cell in zip(self.transitions, self.cells, strict=True):
            if not isinstance(transition, nn.Identity):
                states[-1] = Source(transition(states[-1].x), fast=fast)
            output = call(cell, states)
            outputs.append(output)
            states = [*states[1:], output]
        return outputs

    def classify(self, features: Tensor) -> Tensor:
        """Logits [B, classes] from the last cell's output [B, C, H, W]."""
        pooled: Tensor = self.head(features).mean(dim=(2, 3))
        logits: Tensor = self.classifier(pooled)
        return logits

    def forward(self, images: Tensor, call: CellCall, fast: bool) -> Tensor:
        return self.classify(self.states(images, call, fast)[-1].x)


def smallest_image(space: SearchSpace, shape: Shape) -> int:
    """The least height and width in pixels that the network can reduce, one pixel at the end."""
    halvings = 2 if space.skeleton == "nasbench201" else len(reductions(shape.cells))
    stem = 0 if space.skeleton == "nasbench201" else STEM_HALVINGS[shape.stem]
    return int(2 ** (halvings + stem))


def check_image_size(space: SearchSpace, shape: Shape, image_size: int) -> None:
    """Raise UserError where the images are too small for the network's reductions."""
    least = smallest_image(space, shape)
    if image_size < least:
        raise UserError(
            f"images of {image_size} pixels are too small: {shape.cells} cells with the "
            f"{shape.stem} stem need at least {least} (--image-size {least})"
        )


def search_style(space: SearchSpace) -> OperationStyle:
    """Operations in a supernet: no affine parameters; pooling is normalised in DARTS spaces."""
    return OperationStyle(affine=False, pool_norm=space.skeleton == "darts")


def make_fast(network: nn.Module) -> None:
    """Lay out the weights for channels-last images, the faster layout on CPUs and GPUs.

    And let the norms outside of cells take their faster way.
    """
    network.to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.folds = True
