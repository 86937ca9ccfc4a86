"""What the methods that sample operations share: noise drawn once a step, hard choices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from dots.common.seeding import isolated_random_state, seed_step
from dots.nas.relaxation import gumbel, softmax
from dots.nas.strategies.base import GradientSearch, MethodSettings, Phase, SearchContext
from dots.networks.supernet import Active

Key = TypeVar("Key", bound=Hashable)
Noise = dict[str, Tensor]
"""Gumbel noise for each cell kind, [draws, edges, operations]."""


class SampledSearch(GradientSearch):
    """Abstract: mixtures are a function of α and of noise, which a step must draw first of all.

    Then nothing else in the step has drawn before, and every process, and every part of an
    accumulated batch, sees the same sample. All cells of a kind share it.
    """

    draws: ClassVar[int] = 1
    """How many independent noises a forward needs."""

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.noise: dict[Phase, Noise] = {}
        with isolated_random_state():  # for whoever looks before the first step
            seed_step(context.seed, "operations", "noise")
            self.draw_noise()

    def operation_probabilities(self) -> dict[str, Tensor]:
        """softmax(α): those of a draw, without noise."""
        return {kind: softmax(alpha) for kind, alpha in self.alpha.items()}

    def draw_noise(self) -> None:
        """New, independent noise for the weight and for the architecture step."""
        phases: tuple[Literal["weights", "architecture"], ...] = ("weights", "architecture")
        self.noise = {
            phase: {
                kind: gumbel(torch.Size((self.draws, *alpha.shape)), alpha)
                for kind, alpha in self.alpha.items()
            }
            for phase in phases
        }


class ChoosingSearch(SampledSearch):
    """Abstract: a forward runs only what the noise chose."""

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        self._active: dict[Phase, dict[str, Active]] = {}
        super().__init__(context, method)

    def why_steps_differ(self, epoch: int) -> str:
        return f"{self.name} chooses the operations of each step"

    @abstractmethod
    def choices(self, phase: Phase) -> dict[str, Tensor]:
        """What a forward of a phase runs: masks [edges, operations]. Other numbers than 0 count."""

    def draw_noise(self) -> None:
        super().draw_noise()
        self._active = {}

    def active(self, phase: Phase) -> dict[str, Active]:
        """`choices` as the supernet takes them.

        α is the same for the weight step and for the architecture step that follows it, so
        both are read from the device at once, in the first forward after the draw.
        """
        if phase == "evaluation":
            return active_rows(self.choices(phase))
        if not self._active:
            phases: tuple[Phase, ...] = ("weights", "architecture")
            rows = active_rows(
                {(p, kind): mask for p in phases for kind, mask in self.choices(p).items()}
            )
            self._active = {p: {kind: rows[p, kind] for kind in self.alpha} for p in phases}
        return self._active[phase]


def one_hot(logits: Tensor) -> Tensor:
    """One at each row's maximum, zero elsewhere; [E, O] -> [E, O]."""
    places = logits.detach().argmax(dim=-1, keepdim=True)
    return torch.zeros_like(logits).scatter_(-1, places, 1.0)


def moved(tables: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tables of one type from the host on the device, in one transfer."""
    flat = torch.cat([table.flatten() for table in tables.values()]).to(device)
    pieces = torch.split(flat, [table.numel() for table in tables.values()])
    return {
        kind: piece.view(table.shape)
        for (kind, table), piece in zip(tables.items(), pieces, strict=True)
    }


def active_rows(masks: Mapping[Key, Tensor]) -> dict[Key, Active]:
    """Boolean masks [E, O] as the supernet takes them; one transfer from the device for all."""
    rows = torch.cat([mask.bool().flatten() for mask in masks.values()]).tolist()
    active, start = {}, 0
    for kind, mask in masks.items():
        edges, columns = mask.shape
        active[kind] = tuple(
            tuple(rows[start + edge * columns : start + (edge + 1) * columns])
            for edge in range(edges)
        )
        start += edges * columns
    return active
