"""β-DARTS (Ye et al., CVPR 2022): DARTS whose α is kept from running away."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from dots.nas.strategies.darts import Darts


class BetaDarts(Darts):
    """DARTS with the setting `beta_decay`: its step of α adds λ(e)·mean logsumexp(α).

    λ rises in a line from 0 and would reach 50 after the last epoch. Any other method takes
    the same setting.
    """

    name: ClassVar[str] = "beta-darts"
    regularisers: ClassVar[Mapping[str, object]] = MappingProxyType({"beta_decay": 50.0})
    published: ClassVar[Mapping[str, object]] = MappingProxyType({**Darts.published, "epochs": 100})
