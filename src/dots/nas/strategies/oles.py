"""OLES (Jiang et al., NeurIPS 2023): DARTS whose operations stop to learn before they overfit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from dots.nas.strategies.darts import Darts


class Oles(Darts):
    """DARTS with the setting `oles`: operations whose gradients disagree are frozen.

    The cosine between the gradients of the last step of w and of the step of α, mean over
    `oles_steps` steps, must stay above 0.4. Any other first-order method with two halves takes
    the same setting.
    """

    name: ClassVar[str] = "oles"
    regularisers: ClassVar[Mapping[str, object]] = MappingProxyType({"oles": 0.4})

    def end_epoch(self, epoch: int) -> dict[str, float]:
        assert self.early_stopping is not None
        stopped = self.early_stopping.stopped
        return {"stopped": sum(stopped) / max(1, len(stopped))}
