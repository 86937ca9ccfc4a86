"""What kind of run to make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DIGITS = tuple(str(digit) for digit in range(10))
UNTIL = ("operations", "topology", "train", "result")


@dataclass(frozen=True)
class Plan:
    """What kind of run to make up; `until` names the last thing that it did."""

    space: str = "darts"
    nodes: int | None = None
    classes: tuple[str, ...] = DIGITS
    until: str = "result"
    baselines: tuple[str, ...] = ("random", "darts-policy")
    edges: str | int = "pairs"
    parameterisation: str = "combinations"
    retain: str = "group-v2"
    epochs: tuple[int, int, int] = (12, 20, 15)
    seed: int = 0
    accuracy: float = 0.975
    random_accuracy: float = 0.9667
    test_images: int = 360
    image_size: int = 32
    name: str = "digits"
    truth: bool = False
    winner: str | None = None
    """The cell that won a successive halving; None: there was none."""
    other_accuracies: Mapping[str, float] = field(default_factory=dict)
    """Of the baselines beyond a random cell and the DARTS policy's."""

    def reached(self, stage: str) -> bool:
        """Whether the run got as far as `stage`."""
        return UNTIL.index(self.until) >= UNTIL.index(stage)
