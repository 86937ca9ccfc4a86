"""A network of a published cell in the skeleton that it was published in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.networks.body import CellPlan, InputStep, Shape, Stem, make_fast, plain_stem, reductions
from dots.networks.count import Cost, module_cost, network_cost
from dots.networks.derived import AuxiliaryHead, DerivedCell
from dots.networks.norm import BatchNorm
from dots.networks.operations.source import Source
from dots.networks.skeletons.parts import OwnParts
from dots.networks.skeletons.rules import RULES, SkeletonRules
from dots.space.genotype import Genotype
from dots.zoo.sizes import PublishedSize

State = tuple[int, int]
"""Channels of a cell's input, and how often its resolution was halved."""


def plan_own(
    rules: SkeletonRules, shape: Shape, outputs: Mapping[str, int]
) -> tuple[int, list[CellPlan]]:
    """The channels of the stem's convolution, and the cells, those of the stem first.

    `outputs` are the nodes that a cell concatenates, by kind. Raises UserError where the
    skeleton has no stem for large images.
    """
    stem_cells = 0
    if shape.stem == "imagenet":
        if rules.stem_cells is None:
            raise UserError(f"the {rules.name} skeleton has no published stem for large images")
        stem_cells = rules.stem_cells
    stem_width = rules.stem_width if stem_cells else 3 * shape.channels
    channels, level = shape.channels / 2**stem_cells, 0
    newer: State = (stem_width, 0)
    older = newer
    plans: list[CellPlan] = []
    for index in range(-stem_cells, shape.cells):
        reduction = index < 0 or index in reductions(shape.cells)
        kind = "reduce" if reduction else "normal"
        if index >= 0 and reduction:
            channels *= 2
        width = int(channels)
        first = not plans and rules.raw_first
        inputs = ((older[0], _older_step(older, newer, width, first)), (newer[0], _CONV))
        plans.append(CellPlan(kind, index, width, reduction, inputs))
        level += reduction
        older, newer = newer, (width * outputs[kind], level)
        channels *= 2 if index < 0 else 1
    return stem_width, plans


_CONV: InputStep = "conv"


def _older_step(older: State, newer: State, width: int, raw: bool) -> InputStep:
    if older[1] != newer[1]:
        return "reduce"
    return "none" if raw or older[0] == width else "conv"


class OwnNetwork(nn.Module):
    """Stem, cells, ReLU, classifier, and in training an auxiliary head where DARTS has it.

    Trained like a `DerivedNetwork`: `drop_path` is set by the training. Raises UserError for
    a genotype whose output depends on no input, and where the skeleton does not fit.
    """

    def __init__(
        self,
        genotype: Genotype,
        rules: SkeletonRules,
        shape: Shape,
        *,
        auxiliary: bool = False,
        fast: bool = True,
    ) -> None:
        super().__init__()
        genotype.check_buildable()
        self.genotype = genotype
        self.rules = rules
        self.shape = shape
        self.fast = fast
        self.drop_path = 0.0
        outputs = {kind: len(cell.output(2)) for kind, cell in genotype.cells.items()}
        width, self.plans = plan_own(rules, shape, outputs)
        large = shape.stem == "imagenet"
        if large:
            convolution = nn.Conv2d(shape.image_channels, width, 3, 2, 0, bias=False)
            self.stem = nn.Sequential(convolution, BatchNorm(width))
        else:
            self.stem = plain_stem(shape.image_channels, width, shape.stem)
        parts = OwnParts(rules)
        self.cells = nn.ModuleList(
            DerivedCell(genotype.cells[plan.kind], 2, plan, parts) for plan in self.plans
        )
        widths = [plan.channels * outputs[plan.kind] for plan in self.plans]
        self.classifier = nn.Linear(widths[-1], shape.classes, bias=rules.classifier_bias)
        extra = len(self.plans) - shape.cells
        self.auxiliary_cell = extra + reductions(shape.cells)[-1]
        self.auxiliary: AuxiliaryHead | None = None
        if auxiliary:
            inner = widths[self.auxiliary_cell]
            self.auxiliary = AuxiliaryHead(inner, shape.classes, imagenet=large)
        if fast:
            make_fast(self)

    def _outputs(self, images: Tensor) -> list[Source]:
        first = Source(self.stem(images), fast=self.fast)
        states, outputs = [first, first], []
        for cell in self.cells:
            output: Source = cell(states, self.drop_path, self.fast)
            outputs.append(output)
            states = [states[1], output]
        return outputs

    def _classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(F.relu(features).mean(dim=(2, 3)))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W]."""
        return self._classify(self._outputs(images)[-1].x)

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and those of the auxiliary head where there is one."""
        outputs = self._outputs(images)
        extra = None
        if self.auxiliary is not None:
            extra = self.auxiliary(outputs[self.auxiliary_cell].x)
        return self._classify(outputs[-1].x), extra

    def features(self, images: Tensor) -> Sequence[Tensor]:
        """The last output [B, C, H, W] at each resolution, finest first."""
        outputs = [output.x for output in self._outputs(images)]
        return list({output.shape[2:]: output for output in outputs}.values())


def published_cost(genotype: Genotype, size: PublishedSize) -> Cost:
    """The cost of a cell's network at a published size, without auxiliary head.

    The skeleton is that of `size`. Nothing is computed.
    """
    stem: Stem = "imagenet" if size.data == "imagenet" else "cifar"
    shape = Shape(size.cells, size.channels, 3, size.classes, stem=stem)
    if size.skeleton == "darts":
        return network_cost(genotype, shape, size.image_size)
    with torch.device("meta"):
        network = OwnNetwork(genotype, RULES[size.skeleton], shape, fast=False).eval()
        image = torch.empty(1, 3, size.image_size, size.image_size)
    return module_cost(network, image)
