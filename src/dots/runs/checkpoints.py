"""The checkpoints of a run: the newest few, each with its place in the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dots.common.files import telling_full_disk
from dots.runs.state_file import DamagedFileError, load, save

_NAME = re.compile(r"(\d{6,12})-([a-z0-9][a-z0-9-]*)\.safetensors")


@dataclass(frozen=True)
class Position:
    """Where a run stands: `step` steps of this epoch (from 0) of the stage are behind."""

    stage: str
    epoch: int
    step: int


class Checkpoints:
    """Checkpoint files in `folder`, numbered in the order in which they were written.

    Kept are the newest `keep` and, of every stage, the newest. `before_write` is called
    before each write: it brings to disk what a checkpoint takes for granted. What is found
    damaged is skipped and told in `notices`, one line each.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 3,
        before_write: Callable[[], None] = lambda: None,
    ) -> None:
        if keep < 1:
            raise ValueError("keep must be at least 1")
        self.folder = folder
        self.keep = keep
        self.notices: list[str] = []
        self._before_write = before_write

    def write(self, stage: str, epoch: int, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint atomically and drop the oldest; the path of the new one.

        Raises what `checkpoint_file.save` does; the checkpoints before are then as they were.
        """
        self._before_write()
        with telling_full_disk(self.folder):
            self.folder.mkdir(exist_ok=True)
        present = self._paths()
        number = _number(present[-1]) + 1 if present else 1
        path = self.folder / f"{number:06d}-{stage}.safetensors"
        if not _NAME.fullmatch(path.name):
            raise ValueError(f"a stage's name must be small letters, digits and dashes: {stage!r}")
        position = Position(stage, epoch, step)
        save(path, {"position": asdict(position), "state": state})
        for old in _superfluous([*present, path], self.keep):
            old.unlink(missing_ok=True)
        return path

    def newest(self, stage: str | None = None) -> tuple[Position, dict[str, Any]] | None:
        """The newest intact checkpoint (of `stage`, if given), or None where there is none."""
        for path in reversed(self._paths()):
            if stage in (None, _stage(path)):
                try:
                    return _opened(path)
                except DamagedFileError as error:
                    self.notices.append(f"{error}; the checkpoint before it is used")
        return None

    def _paths(self) -> list[Path]:
        """Oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), key=_number
        )


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _stage(path: Path) -> str:
    return path.stem.partition("-")[2]


def _superfluous(paths: list[Path], keep: int) -> Iterable[Path]:
    """Of paths, oldest first, those to delete."""
    newest_of_stage = {_stage(path): path for path in paths}
    kept = {*paths[-keep:], *newest_of_stage.values()}
    return [path for path in paths if path not in kept]


def _opened(path: Path) -> tuple[Position, dict[str, Any]]:
    content = load(path)
    match content:
        case {
            "position": {"stage": str(stage), "epoch": int(epoch), "step": int(step)},
            "state": dict(state),
        } if stage == _stage(path):
            return Position(stage, epoch, step), state
    raise DamagedFileError(f"the checkpoint {str(path)!r} is damaged: it holds no position")
