"""DARTS, first order (Liu et al., ICLR 2019), with the DOTS paper's operation groups."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from dots.relax import group_softmax
from dots.strategies.base import (
    GradientSearch,
    MethodSettings,
    Mixtures,
    Phase,
    SearchContext,
    group_columns,
)
from dots.supernet import Mixture


class Darts(GradientSearch):
    """A softmax over the operations of each edge, or of each group (Eq. 2, Sec. 4.2.2).

    Bi-level, first order: per step α on half B, then w on half A (Eq. 4 at the current w).
    With groups each has a softmax of its own, so that an edge's weights sum to the number of
    groups; as in the authors' release, α starts at zero then and the groups are uniform.
    """

    name: ClassVar[str] = "darts"

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        if len(context.groups) > 1:
            for alpha in self.alpha.values():
                nn.init.zeros_(alpha)

    def mixtures(self, phase: Phase) -> Mixtures:
        columns = group_columns(self.context.space, self.context.groups)
        return {kind: Mixture(group_softmax(alpha, columns)) for kind, alpha in self.alpha.items()}
