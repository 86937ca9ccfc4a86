"""What a study is: trials to run, rows to keep, and what is made of the rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dots.study import lines
from dots.study.execution.attempts import Record
from dots.study.lines import Line, Row
from dots.study.options import Options
from dots.study.trial import Trial

Results = Mapping[str, Record]
"""What is known so far, by the name of the trial."""


class Study(ABC):
    """A question, and the trials that answer it.

    `trials` and `rows` are functions of the options and of what trials have given so far,
    and of nothing else: that makes a study resumable.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, options: Options) -> None:
        self.options = options

    def check(self) -> None:
        """Raise UserError for what can be seen to be wrong before any trial."""
        self.options.check()

    @abstractmethod
    def trials(self, results: Results) -> list[Trial]:
        """All trials that can be named already, in the order in which to run them."""

    @abstractmethod
    def expected(self) -> int:
        """About how many trials there will be in all, for the progress bar."""

    @abstractmethod
    def rows(self, results: Results) -> list[Row]:
        """One row for each trial of the question that has ended, failed ones included."""

    @abstractmethod
    def table(self, rows: Sequence[Row]) -> list[Line]:
        """The table: numbers for each group of rows."""

    @abstractmethod
    def markdown(self, rows: Sequence[Row]) -> str:
        """The table for people, as Markdown."""

    def caption(self, rows: Sequence[Row]) -> str:
        """What the table and the figure show, and what they do not."""
        return " ".join([self.opening(), *lines.about(self.options, rows)])

    @abstractmethod
    def opening(self) -> str:
        """The first sentences of the caption."""

    @abstractmethod
    def draw(self, rows: Sequence[Row], path: Path) -> None:
        """Write the figure to `path`, in the format of its suffix."""

    def extras(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What else study.json holds, as JSON values."""
        return {}
