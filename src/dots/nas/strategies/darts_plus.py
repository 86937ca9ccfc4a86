"""DARTS+ (Liang et al., 2019): DARTS that stops before skips take the cell over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dots.common.errors import UserError
from dots.nas.relaxation import softmax
from dots.nas.strategies.base import (
    GradientSearch,
    MethodSettings,
    Mixtures,
    Phase,
    SearchContext,
    columns_of,
)
from dots.nas.strategies.darts import Darts
from dots.networks.supernet import Mixture
from dots.recipe.settings import OperationSettings
from dots.space.search_space import ZERO, SearchSpace

_SKIP = "skip_connect"
_WITHOUT_WEIGHTS = frozenset({ZERO, _SKIP, "max_pool_3x3", "avg_pool_3x3", "noise"})
_REFERENCE_EPOCHS = 50
"""The length of search that the published numbers of epochs belong to."""


class DartsPlusSettings(MethodSettings):
    """DARTS+'s own settings; the defaults are the published ones, in proportion to the epochs."""

    stop: Literal["skips", "ranking"] = Field(
        default="skips",
        description="stop at too many skips in the derived normal cell, or at a stable ranking "
        "of the operations that have weights",
    )
    max_skips: int = Field(
        default=1, ge=0, le=1000, description="stop 'skips': more of them end the search"
    )
    min_epochs: int | None = Field(
        default=None,
        ge=0,
        description="stop 'skips': epochs before the first test; absent: a fifth of all",
    )
    stable_epochs: int | None = Field(
        default=None,
        ge=1,
        description="stop 'ranking': epochs without a change; absent: 10 of 50, in proportion",
    )


class DartsPlus(GradientSearch):
    """First-order DARTS with a rule that ends it.

    "skips": at the end of an epoch the derived normal cell has more skips than allowed; α
    goes back to the last epoch whose cell had not (where there is none, it stays). A minimum
    number of epochs is no part of the publication; without one the noise α starts from could
    end the search.

    "ranking": the order by α of the operations with weights has not changed on any edge of
    the normal cell for a number of epochs.
    """

    name: ClassVar[str] = "darts-plus"
    Settings: ClassVar[type[MethodSettings]] = DartsPlusSettings
    published: ClassVar[Mapping[str, object]] = Darts.published
    method: DartsPlusSettings

    def __init__(self, context: SearchContext, method: MethodSettings) -> None:
        super().__init__(context, method)
        self.stopped = False
        self.accepted: dict[str, Tensor] = {}
        """α of the last epoch that kept the rule on skips."""
        self.ranking: list[list[int]] = []
        self.stable = 0
        """Epochs for which `ranking` has held."""

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        assert isinstance(method, DartsPlusSettings)
        possible = {
            "skips": _SKIP in space.operations,
            "ranking": len(_with_weights(space)) > 1,
        }
        if not possible[method.stop]:
            need = {"skips": "skips to count", "ranking": "two operations with weights to rank"}
            other = "ranking" if method.stop == "skips" else "skips"
            remedy = f"set method.stop={other}" if possible[other] else "choose another strategy"
            raise UserError(
                f"the strategy {cls.name!r} has no {need[method.stop]} in the search space "
                f"{space.name!r}: {remedy}"
            )

    def mixtures(self, phase: Phase) -> Mixtures:
        return {kind: Mixture(softmax(alpha)) for kind, alpha in self.alpha.items()}

    def end_epoch(self, epoch: int) -> dict[str, float]:
        if not self.trains_architecture(epoch):
            return {}
        if self.method.stop == "skips":
            return {"skips": self._count_skips(epoch)}
        return {"stable_epochs": self._follow_ranking()}

    def finished(self, epoch: int) -> bool:
        return self.stopped

    def _count_skips(self, epoch: int) -> int:
        skips = self.derive().skips()
        if skips <= self.method.max_skips:
            self.accepted = {kind: alpha.detach().clone() for kind, alpha in self.alpha.items()}
        elif epoch >= self._min_epochs():
            self.stopped = True
            with torch.no_grad():
                for kind, alpha in self.accepted.items():
                    self.alpha[kind].copy_(alpha)
        return skips

    def _follow_ranking(self) -> int:
        columns = columns_of(self.context.space, _with_weights(self.context.space))
        normal = self.alpha[self.context.space.kinds[0]].detach()[:, columns]
        ranking = normal.argsort(dim=1, descending=True, stable=True).tolist()
        self.stable = self.stable + 1 if ranking == self.ranking else 0
        self.ranking = ranking
        self.stopped = self.stable >= self._stable_epochs()
        return self.stable

    def _min_epochs(self) -> int:
        given = self.method.min_epochs
        return self._in_proportion(10) if given is None else given

    def _stable_epochs(self) -> int:
        given = self.method.stable_epochs
        return max(1, self._in_proportion(10)) if given is None else given

    def _in_proportion(self, epochs: int) -> int:
        return round(epochs * self.settings.epochs / _REFERENCE_EPOCHS)

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "stopped": self.stopped,
            "accepted": self.accepted,
            "ranking": self.ranking,
            "stable": self.stable,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.stopped = state["stopped"]
        self.accepted = {
            kind: alpha.to(self.engine.device) for kind, alpha in state["accepted"].items()
        }
        self.ranking, self.stable = state["ranking"], state["stable"]


def _with_weights(space: SearchSpace) -> list[str]:
    return [op for op in space.operations if op not in _WITHOUT_WEIGHTS]
