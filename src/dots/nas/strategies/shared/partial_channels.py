"""Edges that send only a part of the channels through their operations (PC-DARTS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.networks.kernels.node_sum import Term, combine
from dots.networks.operations.source import Source
from dots.networks.supernet import EdgeFactory, EdgePlan, MixedEdge


class PartialEdge(nn.Module):
    """The first 1/K of the channels are mixed, the others pass by; then all are shuffled.

    What passes by is max pooled, 2×2, where the edge has stride 2. Channel g·C/K + j of
    [mixed, bypass] becomes channel j·K + g, so that the next edge mixes others.
    """

    def __init__(self, plan: EdgePlan, parts: int) -> None:
        super().__init__()
        if plan.channels % parts:
            raise UserError(f"{plan.channels} channels do not divide into {parts} parts")
        self.parts = parts
        self.channels = plan.channels // parts
        self.stride = plan.stride
        self.inner = MixedEdge(replace(plan, channels=self.channels))

    def forward(
        self,
        source: Source,
        weights: Sequence[Tensor],
        edge_weight: Tensor | None,
        active: Sequence[bool],
    ) -> list[Term]:
        """As MixedEdge: what the edge adds to its node."""
        if self.parts == 1:
            terms: list[Term] = self.inner(source, weights, edge_weight, active)
            return terms
        first, others = source.split(self.channels)
        rest = others.x
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
        terms = self.inner(first, weights, None, active)
        mixed = combine(terms, fast=source.fast) if terms else torch.zeros_like(
            rest[:, : self.channels]
        )  # fmt: skip
        weight = mixed.new_ones(()) if edge_weight is None else edge_weight
        return [Term(shuffled(mixed, rest), weight, None, None)]


def shuffled(mixed: Tensor, rest: Tensor) -> Tensor:
    """[B, c, H, W] and [B, (K-1)·c, H, W], concatenated and shuffled in K groups, in one copy.

    The result is channels-last.
    """
    batch, channels, height, width = mixed.shape
    last = rest.permute(0, 2, 3, 1).reshape(batch, height, width, -1, channels)
    first = mixed.permute(0, 2, 3, 1).unsqueeze(-1)
    both = torch.cat([first, last.transpose(-1, -2)], dim=-1)
    return both.flatten(-2).permute(0, 3, 1, 2)


def partial_edges(parts: int) -> EdgeFactory:
    """An edge factory for partial channels."""
    return lambda plan: PartialEdge(plan, parts)


def fitting_parts(channels: int, parts: int) -> int:
    """The largest divisor of `channels` that is at most `parts`."""
    return max(divisor for divisor in range(1, parts + 1) if channels % divisor == 0)
