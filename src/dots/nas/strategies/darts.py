"""DARTS, first order (Liu et al., ICLR 2019), with the DOTS paper's operation groups."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor, nn

from dots.nas.relaxation import group_softmax, select_columns
from dots.nas.strategies.base import (
    GradientSearch,
    MethodSettings,
    Mixtures,
    Phase,
    SearchContext,
)
from dots.networks.supernet import Mixture


class Darts(GradientSearch):
    """A softmax over the operations of each edge, or of each group (Eq. 2, Sec. 4.2.2).

    Bi-level, first order: per step α on half B, then w on half A (Eq. 4 at the current w).
    With groups each has a softmax of its own, so that an edge's weights sum to the number of
    groups; as in the authors' release, α starts at zero then and the groups are uniform.
    """

    name: ClassVar[str] = "darts"
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "epochs": 50, "weight_epochs": 0, "cells": 8, "channels": 16, "batch": 64,
            "lr": 0.025, "lr_min": 0.001, "lr_epochs": None, "lr_offset": 0,
            "momentum": 0.9, "weight_decay": 3e-4, "clip": 5.0,
            "arch_lr": 3e-4, "arch_betas": (0.5, 0.999), "arch_weight_decay": 1e-3,
            "arch_clip": None,
        }
    )  # fmt: skip

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        for kind, alpha in self.alpha.items():
            if len(context.group_columns(kind)) > 1:
                nn.init.zeros_(alpha)

    def step_key(self, epoch: int) -> Hashable:
        """Nothing else changes with the epoch; a method that derives from this may add to it."""
        return self.beta_decay

    def logits(self) -> list[Tensor]:
        return [
            select_columns(alpha, group)
            for kind, alpha in self.alpha.items()
            for group in self.context.group_columns(kind)
        ]

    def mixtures(self, phase: Phase) -> Mixtures:
        return {
            kind: Mixture(group_softmax(alpha, self.context.group_columns(kind)))
            for kind, alpha in self.alpha.items()
        }
