"""The supernet and the derived network written as the papers read: the oracle and the baseline.

NCHW, float32, one module per candidate operation, a Python loop, `weight * op(x)`, a sum. This
is how the published implementations work; nothing here is clever, and nothing here may be made
slower than they are. The fast library is compared with this file, in value and in time.

Modules are registered in structural order (stem, cells in order: preprocess0, preprocess1, edges
ordered by target then source, operations in canonical order; classifier), so that parameters and
buffers of two networks can be paired one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dots.space.genotype import Cell, Genotype
from dots.space.search_space import SearchSpace

Mixture = tuple[Tensor, Tensor | None]
"""Operation weights [edges, operations]; edge weights [edges], or None where all are one."""


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class FactorizedReduce(nn.Module):
    """Halves the resolution: two 1×1 convolutions, the second sees the image shifted by one."""

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))


def relu_conv_norm(inputs: int, outputs: int, affine: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs, affine=affine),
    )


def separable(
    channels: int, kernel: int, stride: int, dilation: int, affine: bool
) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def operation(name: str, channels: int, stride: int, *, search: bool) -> nn.Module:
    """One candidate. While searching, norms have no parameters and pooling is normalised."""
    affine = not search
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
    if name in ("max_pool_3x3", "avg_pool_3x3"):
        pool: nn.Module = (
            nn.MaxPool2d(3, stride, padding=1)
            if name == "max_pool_3x3"
            else nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        )
        return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False)) if search else pool
    kind, kernel = name[:8], int(name[-1])
    if kind == "sep_conv":
        first = separable(channels, kernel, stride, 1, affine)
        return nn.Sequential(*first, *separable(channels, kernel, 1, 1, affine))
    if kind == "dil_conv":
        return nn.Sequential(*separable(channels, kernel, stride, 2, affine))
    raise ValueError(f"the textbook has no operation {name!r}")


class MixedEdge(nn.Module):
    """Eq. 1: the weighted sum of all candidates; a candidate of weight zero is skipped."""

    def __init__(self, names: Sequence[str], channels: int, stride: int) -> None:
        super().__init__()
        self.ops = nn.ModuleList(operation(name, channels, stride, search=True) for name in names)

    def forward(self, x: Tensor, weights: Tensor, runs: Sequence[bool]) -> Tensor:
        triples = zip(weights, self.ops, runs, strict=True)
        terms = [w * op(x) for w, op, is_there in triples if is_there]
        return sum(terms[1:], terms[0])


def preprocesses(
    channels_before: int, channels_last: int, channels: int, after_reduction: bool, affine: bool
) -> tuple[nn.Module, nn.Module]:
    """What brings the outputs of the two previous cells to this cell's shape."""
    first = (
        FactorizedReduce(channels_before, channels, affine)
        if after_reduction
        else relu_conv_norm(channels_before, channels, affine)
    )
    return first, relu_conv_norm(channels_last, channels, affine)


class SearchCell(nn.Module):
    def __init__(
        self,
        space: SearchSpace,
        channels_before: int,
        channels_last: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        self.spec = space.cell
        self.kind = "reduce" if reduction else "normal"
        self.preprocess0, self.preprocess1 = preprocesses(
            channels_before, channels_last, channels, after_reduction, affine=False
        )
        self.edges = nn.ModuleList(
            MixedEdge(space.operations, channels, 2 if reduction and source < 2 else 1)
            for source, _ in space.cell.edges
        )

    def forward(self, before: Tensor, last: Tensor, mixture: Mixture) -> Tensor:
        operation_weights, edge_weights = mixture
        runs = (operation_weights != 0).tolist()  # one wait for a device, not one an operation
        states = [self.preprocess0(before), self.preprocess1(last)]
        for incoming in self.spec.incoming:
            terms = []
            for e in incoming:
                x = states[self.spec.edges[e][0]]
                value = self.edges[e](x, operation_weights[e], runs[e])
                terms.append(value if edge_weights is None else edge_weights[e] * value)
            states.append(sum(terms[1:], terms[0]))
        return torch.cat(states[2:], dim=1)


def cifar_stem(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


class Supernet(nn.Module):
    """The search network for images of CIFAR's kind: [B, 3, H, W] -> logits [B, classes]."""

    def __init__(self, space: SearchSpace, channels: int, cells: int, classes: int) -> None:
        super().__init__()
        self.stem = cifar_stem(3 * channels)
        before, last, width, after_reduction = 3 * channels, 3 * channels, channels, False
        self.cells = nn.ModuleList()
        for index in range(cells):
            reduction = index in (cells // 3, 2 * cells // 3)
            width *= 2 if reduction else 1
            self.cells.append(SearchCell(space, before, last, width, reduction, after_reduction))
            before, last, after_reduction = last, space.cell.nodes * width, reduction
        self.classifier = nn.Linear(last, classes)

    def forward(self, images: Tensor, mixtures: Mapping[str, Mixture]) -> Tensor:
        before = last = self.stem(images)
        for cell in self.cells:
            before, last = last, cell(before, last, mixtures[cell.kind])
        return self.classifier(last.mean(dim=(2, 3)))


class DerivedCell(nn.Module):
    def __init__(
        self,
        cell: Cell,
        channels_before: int,
        channels_last: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.preprocess0, self.preprocess1 = preprocesses(
            channels_before, channels_last, channels, after_reduction, affine=True
        )
        self.ops = nn.ModuleList(
            operation(edge.op, channels, 2 if reduction and edge.source < 2 else 1, search=False)
            for node in cell.nodes
            for edge in node
        )

    def forward(self, before: Tensor, last: Tensor, drop_path: float) -> Tensor:
        states = [self.preprocess0(before), self.preprocess1(last)]
        ops = iter(self.ops)
        for node in self.cell.nodes:
            terms = []
            for edge in node:
                op = next(ops)
                value = op(states[edge.source])
                if self.training and drop_path > 0 and not isinstance(op, nn.Identity):
                    value = dropped(value, drop_path)
                terms.append(value)
            states.append(sum(terms[1:], terms[0]))
        return torch.cat([states[index] for index in self.cell.concat], dim=1)


def dropped(x: Tensor, probability: float) -> Tensor:
    """Drops whole samples of a path and scales up those that stay."""
    kept = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - probability)
    return x / (1 - probability) * kept


class AuxiliaryHead(nn.Module):
    """For 8×8 features."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3, padding=0, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class DerivedNetwork(nn.Module):
    """A genotype trained from scratch; `forward` gives (logits, auxiliary logits or None)."""

    def __init__(
        self, genotype: Genotype, channels: int, cells: int, classes: int, auxiliary: bool
    ) -> None:
        super().__init__()
        self.stem = cifar_stem(3 * channels)
        before, last, width, after_reduction = 3 * channels, 3 * channels, channels, False
        self.cells = nn.ModuleList()
        two_thirds = 0
        for index in range(cells):
            reduction = index in (cells // 3, 2 * cells // 3)
            width *= 2 if reduction else 1
            cell = genotype.cells["reduce" if reduction else "normal"]
            self.cells.append(DerivedCell(cell, before, last, width, reduction, after_reduction))
            before, last, after_reduction = last, len(cell.concat) * width, reduction
            if index == 2 * cells // 3:
                two_thirds = last
        self.classifier = nn.Linear(last, classes)
        self.auxiliary = AuxiliaryHead(two_thirds, classes) if auxiliary else None

    def forward(self, images: Tensor, drop_path: float = 0.0) -> tuple[Tensor, Tensor | None]:
        before = last = self.stem(images)
        auxiliary = None
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last, drop_path)
            if self.auxiliary is not None and index == 2 * len(self.cells) // 3 and self.training:
                auxiliary = self.auxiliary(last)
        return self.classifier(last.mean(dim=(2, 3))), auxiliary
