"""The settings of a budget."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dots.recipe.base import Settings


class BudgetSettings(Settings):
    """What the derived network may cost: the search keeps to it."""

    max_parameters: int | None = Field(
        default=None, ge=1, description="most parameters of the network; none: no limit"
    )
    max_multiply_adds: int | None = Field(
        default=None, ge=1, description="most multiply-adds for an image; none: no limit"
    )
    latency_target: float | None = Field(
        default=None,
        gt=0,
        description="most milliseconds for an image, by the latency table; none: no limit",
    )
    weight: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="weight in both searches' loss of the share by which the expected cost "
        "exceeds each limit; 0: limits act when the cell is chosen, and only then",
    )

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        limits = (self.max_parameters, self.max_multiply_adds, self.latency_target)
        return any(limit is not None for limit in limits)

    @model_validator(mode="after")
    def _weight_has_a_limit(self) -> Self:
        if self.weight and not self.limited:
            raise ValueError(
                "weight needs a limit to weigh: set max_parameters, max_multiply_adds or "
                "latency_target"
            )
        return self
