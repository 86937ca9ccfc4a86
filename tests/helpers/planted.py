"""A truth planted into a supernet: edges that carry noise, and images that show their class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from dots.data.batch import Batch
from dots.networks.supernet import EdgePlan, MixedEdge


class NoisyEdge(MixedEdge):
    """An edge whose output is replaced by noise unless it is one of the planted ones."""

    def __init__(self, plan: EdgePlan, planted: frozenset[int]) -> None:
        super().__init__(plan)
        self.noisy = plan.index not in planted

    def forward(self, source: Any, weights: Any, edge_weight: Any, active: Any) -> Any:
        terms = super().forward(source, weights, edge_weight, active)
        if not self.noisy:
            return terms
        return [
            term._replace(features=3 * torch.randn_like(term.features), pointwise=None, norm=None)
            for term in terms
        ]


class Colours:
    """Images whose class is their colour: what a planted edge lets through suffices."""

    def __init__(self, steps: int = 24) -> None:
        self.steps = steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self.steps):
            generator = torch.Generator().manual_seed(1000 * epoch + step)
            labels = torch.randint(3, (24,), generator=generator)
            images = 0.3 * torch.randn(24, 3, 6, 6, generator=generator)
            images += 2 * nn.functional.one_hot(labels, 3)[:, :, None, None]
            yield Batch(images.contiguous(memory_format=torch.channels_last), labels, 24)
