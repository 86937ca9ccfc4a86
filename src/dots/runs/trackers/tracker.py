"""What a tracker is: the record of a run in a program that people watch their runs with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Setting = bool | int | float | str
Identity = Mapping[str, str]
"""What finds the tracker's run again: empty where nothing is needed."""


class Tracker(Protocol):
    """One run in a tracker; whatever it raises is said, and the run goes on without it."""

    @property
    def identity(self) -> Identity: ...

    def numbers(self, stage: str, epoch: int, values: Mapping[str, float]) -> None:
        """The numbers of an epoch (from 0) of a stage."""

    def cell(self, stage: str, epoch: int, pixels: npt.NDArray[np.uint8]) -> None:
        """The cell as it stands after an epoch, [H, W, 3]."""

    def result(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        """The numbers of result.json, and the files to be kept."""

    def close(self, completed: bool) -> None:
        """The run has ended, or was interrupted and may be continued."""


@dataclass(frozen=True)
class Beginning:
    """What a tracker begins a run with, or continues one: then `identity` is what it had."""

    folder: Path
    settings: Mapping[str, Setting]
    identity: Identity | None = None


@dataclass(frozen=True)
class TrackerKind:
    """A tracker by name: the module that must be installed, which the extra brings, and how a
    run in it is begun or continued."""

    module: str
    begin: Callable[[Beginning], Tracker]
    remedy: str
    """What to do where it cannot be begun."""
