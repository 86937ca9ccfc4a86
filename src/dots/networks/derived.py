"""From a genotype to a network that is trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks.body import Body, CellPlan, Preprocess, Shape, make_fast, reductions
from dots.networks.kernels.node_sum import Term, combine
from dots.networks.norm import BatchNorm
from dots.networks.operations.candidates import (
    FactorizedReduce,
    Identity,
    OperationStyle,
    Zero,
)
from dots.networks.operations.registry import make_operation
from dots.networks.operations.source import Parts, Source, complete
from dots.space.genotype import Cell, Genotype
from dots.space.search_space import Operation


class CellParts(Protocol):
    """What fills and surrounds the nodes of a derived cell; a skeleton may bring its own."""

    def preprocess(self, plan: CellPlan) -> nn.Module:
        """Takes the outputs before the cell and `fast`, gives the Sources of its inputs."""

    def operation(self, name: str, node: int, plan: CellPlan) -> nn.Module:
        """The operation `name` on an edge from `node`."""

    def shortcut(self, node: int, plan: CellPlan) -> nn.Module | None:
        """What brings an input that is part of the output to its size; None: nothing need."""


class DartsParts:
    """The parts of the DARTS and NAS-Bench-201 skeletons; `own` as in `make_operation`."""

    def __init__(self, own: Mapping[str, Operation]) -> None:
        self.own = own

    def preprocess(self, plan: CellPlan) -> nn.Module:
        return Preprocess(plan, affine=True)

    def operation(self, name: str, node: int, plan: CellPlan) -> nn.Module:
        stride = 2 if plan.reduction and node < len(plan.inputs) else 1
        style = OperationStyle(True, pool_norm=False)
        return make_operation(name, plan.channels, stride, style, self.own)

    def shortcut(self, node: int, plan: CellPlan) -> nn.Module | None:
        if not plan.reduction:
            return None
        return FactorizedReduce(plan.channels, plan.channels, affine=True)


class DerivedCell(nn.Module):
    """A cell of a genotype. Nodes without an edge are zero, and absent from the output."""

    def __init__(
        self, cell: Cell, inputs: int, plan: CellPlan, parts: CellParts | None = None
    ) -> None:
        super().__init__()
        parts = parts or DartsParts({})
        self.inputs = inputs
        self.concat = cell.output(inputs)
        self.preprocess = parts.preprocess(plan)
        live = cell.live(inputs)
        self.sources = tuple(
            tuple(edge.source if edge.source in live else None for edge in edges)
            for edges in cell.nodes
        )
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                parts.operation(edge.op, edge.source, plan) for edge in edges if edge.source in live
            )
            for edges in cell.nodes
        )
        shortcuts = {str(node): parts.shortcut(node, plan) for node in self.concat if node < inputs}
        self.shortcuts = nn.ModuleDict({k: m for k, m in shortcuts.items() if m is not None})

    def forward(self, states: Sequence[Source], drop_path: float, fast: bool) -> Source:
        """[B, C·outputs, H, W] from the outputs before this cell, oldest first."""
        nodes: list[Source | None] = list(self.preprocess(states, fast))
        for operations, sources in zip(self.nodes, self.sources, strict=True):
            assert isinstance(operations, nn.ModuleList)
            kept = [nodes[source] for source in sources if source is not None]
            terms = [
                self._term(operation, source, drop_path)
                for operation, source in zip(operations, kept, strict=True)
                if source is not None and not isinstance(operation, Zero)
            ]
            if terms:
                nodes.append(Source(combine(terms, fast=fast), fast=fast))
            elif kept and kept[0] is not None:  # Zero alone
                zero = operations[0]
                assert isinstance(zero, Zero)
                nodes.append(Source(zero.zeros(kept[0]), fast=fast))
            else:
                nodes.append(None)
        outputs = ((index, nodes[index]) for index in self.concat)
        parts = [self._output(index, node) for index, node in outputs if node is not None]
        return Source(parts, fast=fast)

    def _output(self, index: int, node: Source) -> Source:
        if str(index) not in self.shortcuts:
            return node
        features = complete(self.shortcuts[str(index)](node), fast=node.fast)
        return Source(features, fast=node.fast)

    def _term(self, operation: nn.Module, source: Source, drop_path: float) -> Term:
        parts: Parts = operation(source)
        dropped = drop_path and self.training and not isinstance(operation, Identity)
        return parts.weighted(_kept(parts.features, drop_path) if dropped else None)


def _kept(x: Tensor, drop_path: float) -> Tensor:
    """[B, 1, 1, 1]: zero for a sample of [B, C, H, W] that is dropped, more than one for others."""
    keep = 1 - drop_path
    return (torch.rand(len(x), 1, 1, 1, device=x.device) < keep).to(x.dtype) / keep


class AuxiliaryHead(nn.Module):
    """A classifier on the features two thirds of the way, for the training alone.

    `stride` is 3 in the CIFAR skeleton and 2 in the ImageNet one, which bring the published
    8×8 and 7×7 maps to 2×2; other sizes are averaged to 2×2. The ImageNet head has no batch
    norm after its second convolution, as published.
    """

    def __init__(self, channels: int, classes: int, *, imagenet: bool) -> None:
        super().__init__()
        self.stride = 2 if imagenet else 3
        last: list[nn.Module] = [] if imagenet else [BatchNorm(768)]
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            BatchNorm(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *last,
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] from a cell's output [B, C, H, W]."""
        x = F.relu(x)
        published = all((side - 5) // self.stride == 1 for side in x.shape[2:])
        pooled = F.avg_pool2d(x, 5, self.stride) if published else F.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.classifier(self.features(pooled).flatten(1))
        return logits


class DerivedNetwork(nn.Module):
    """The network of a genotype: stem, cells, classifier, and in training an auxiliary head.

    Raises UserError for a genotype whose output depends on no input, and for an operation
    that no module implements.
    """

    def __init__(
        self, genotype: Genotype, shape: Shape, *, auxiliary: bool = False, fast: bool = True
    ) -> None:
        super().__init__()
        genotype.check_buildable()
        space = genotype.graph
        parts = DartsParts(space.own)
        inputs = space.cell.inputs
        self.genotype = genotype
        self.shape = shape
        self.fast = fast
        self.drop_path = 0.0
        """Probability of dropping an operation's output for a sample; the training raises it."""

        def make_cell(plan: CellPlan) -> DerivedCell:
            return DerivedCell(genotype.cells[plan.kind], inputs, plan, parts)

        outputs = {kind: len(cell.output(inputs)) for kind, cell in genotype.cells.items()}
        self.body = Body(space, shape, make_cell, searching=False, multipliers=outputs)
        self.auxiliary_cell = reductions(shape.cells)[-1]
        self.auxiliary: AuxiliaryHead | None = None
        if auxiliary:
            plan = self.body.plans[self.auxiliary_cell]
            self.auxiliary = AuxiliaryHead(
                plan.channels * outputs[plan.kind],
                shape.classes,
                imagenet=shape.stem == "imagenet",
            )
        if fast:
            make_fast(self)

    def _call(self, cell: nn.Module, states: list[Source]) -> Source:
        output: Source = cell(states, self.drop_path, self.fast)
        return output

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W]."""
        return self.body(images, self._call, self.fast)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and those of the auxiliary head where there is one."""
        outputs = self.body.states(images, self._call, self.fast)
        extra = None
        if self.auxiliary is not None:
            extra = self.auxiliary(outputs[self.auxiliary_cell].x)
        return self.body.classify(outputs[-1].x), extra

    def features(self, images: Tensor) -> list[Tensor]:
        """The last output [B, C, H, W] at each resolution, finest first: for a backbone."""
        outputs = [state.x for state in self.body.states(images, self._call, self.fast)]
        return list({output.shape[2:]: output for output in outputs}.values())
