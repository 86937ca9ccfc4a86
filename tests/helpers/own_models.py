"""Models with choices for tests: a small one, and a supernet of cells built by hand."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from dots.nas.own_models import InputChoice, LayerChoice
from dots.networks.operations.candidates import Zero
from dots.networks.operations.source import Source, complete
from dots.networks.supernet import SearchCell, Supernet
from dots.space.search_space import Candidates, Groups, SearchSpace


class Block(nn.Module):
    """Two layer choices of different length, and all subsets of three inputs."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        sizes = {str(k): nn.Conv2d(channels, channels, k, padding=k // 2) for k in (1, 3, 5)}
        self.conv = LayerChoice(sizes)
        self.last = LayerChoice({"conv": nn.Conv2d(channels, channels, 1), "none": nn.Identity()})
        self.join = InputChoice(3, keep="any")

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        joined: Tensor = self.join([x, y, lambda: self.last(y)])
        return joined


def model(seed: int = 0, block: nn.Module | None = None) -> nn.Sequential:
    """A classifier of five classes around one block."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        block or Block(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def images(count: int = 16, classes: int = 5) -> TensorDataset:
    """Random images with random labels."""
    draws = torch.Generator().manual_seed(1)
    pixels = torch.randn(count, 3, 8, 8, generator=draws)
    return TensorDataset(pixels, torch.randint(classes, (count,), generator=draws))


class Plain(nn.Module):
    """An operation of the cell code that takes and gives tensors."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        source = Source(x, fast=False)
        if isinstance(self.operation, Zero):
            return self.operation.zeros(source)
        return complete(self.operation(source), fast=False)


class HandCell(nn.Module):
    """A cell of choices, with the operations of one of the supernet's."""

    def __init__(
        self, cell: SearchCell, candidates: Candidates, groups: Groups | None = None
    ) -> None:
        super().__init__()
        self.spec, self.preprocess = cell.spec, cell.preprocess
        self.edges = nn.ModuleList(
            LayerChoice(
                dict(zip(names, map(Plain, edge.operations), strict=True)),
                label=f"{cell.kind} edge {index}",
                groups=groups,
            )
            for index, (edge, names) in enumerate(
                zip(cell.edges, candidates[cell.kind], strict=True)
            )
        )
        self.nodes = nn.ModuleList(
            InputChoice(len(incoming), keep=2, label=f"{cell.kind} node {node}")
            for node, incoming in enumerate(cell.spec.incoming)
        )

    def forward(self, states: list[Tensor]) -> Tensor:
        sources = self.preprocess([Source(state, fast=False) for state in states], False)
        values = [source.x for source in sources]
        for choice, incoming in zip(self.nodes, self.spec.incoming, strict=True):
            inputs = [self.edges[index](values[self.spec.edges[index][0]]) for index in incoming]
            values.append(choice(inputs))
        return torch.cat([values[node] for node in self.spec.concat], dim=1)


class HandNetwork(nn.Module):
    """The network of a supernet, its cells built by hand, with the same weights."""

    def __init__(self, supernet: Supernet, groups: Groups | None = None) -> None:
        super().__init__()
        body = deepcopy(supernet.body)
        self.stem, self.head, self.classifier = body.stem, body.head, body.classifier
        self.cells = nn.ModuleList(
            HandCell(cell, supernet.candidates, groups) for cell in body.cells
        )

    def forward(self, images: Tensor) -> Tensor:
        states = list(self.stem(images))
        for cell in self.cells:
            states = [*states[1:], cell(states)]
        logits: Tensor = self.classifier(self.head(states[-1]).mean(dim=(2, 3)))
        return logits


def by_edge(space: SearchSpace, tables: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows [1, columns] by the kinds of the choices of HandCell, from tables [edges, columns]."""
    return {
        f"layer:{kind} edge {index}": table[index : index + 1]
        for kind, table in tables.items()
        for index in range(len(space.cell.edges))
    }
