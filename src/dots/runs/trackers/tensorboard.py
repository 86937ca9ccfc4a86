"""TensorBoard: the events that every run writes, and with this tracker its cells as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dots.runs.metrics import summary_writer
from dots.runs.trackers.tracker import Beginning, Identity, TrackerKind


class Board:
    """The pictures, in a folder of their own: the events of numbers are replaced on a resume."""

    def __init__(self, beginning: Beginning) -> None:
        self._writer: Any = summary_writer(beginning.folder / "tensorboard" / "cells")

    @property
    def identity(self) -> Identity:
        return {}

    def numbers(self, stage: str, epoch: int, values: Mapping[str, float]) -> None:
        """Those of `dots.runs.metrics.Metrics` stand there already."""

    def cell(self, stage: str, epoch: int, pixels: npt.NDArray[np.uint8]) -> None:
        self._writer.add_image(f"{stage}/cell", pixels, epoch, dataformats="HWC")

    def result(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        """That of `dots.runs.metrics.write_board` stands there already."""

    def close(self, completed: bool) -> None:
        self._writer.close()


TENSORBOARD = TrackerKind("tensorboard", Board, "see that there is room on the disk")
