"""What a person sees while a run goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dots.common.text import plain
from dots.space.genotype import Genotype

_SHORT = {
    "_connect": "",
    "sep_conv_": "sep",
    "dil_conv_": "dil",
    "_pool_3x3": "",
    "nor_conv_": "conv",
}


def duration(seconds: float) -> str:
    """A length of time for people: 42 s, 7 min 5 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def short_cell(genotype: Genotype) -> str:
    """The first cell on one line: node by node, operation and source of each edge."""
    cell = next(iter(genotype.cells.values()))
    nodes = []
    for edges in cell.nodes:
        nodes.append("+".join(f"{_short(edge.op)}({edge.source})" for edge in edges) or "-")
    return "  ".join(nodes)


def _short(operation: str) -> str:
    for long, short in _SHORT.items():
        operation = operation.replace(long, short)
    return operation


Row = dict[str, Any]
OnEpoch = Callable[[Row], None]
"""Who else is told of an epoch's numbers; what it raises ends the run, which can be resumed."""


class Silent:
    """Says nothing."""

    estimates = False
    """Whether anybody wants to know how long the run will take."""

    def __init__(self, on_epoch: OnEpoch | None = None) -> None:
        self.on_epoch = on_epoch

    def expect(self, later: dict[str, float]) -> None:
        """Hear for each stage the estimated seconds of those that come after it."""

    def say(self, text: str) -> None:
        return

    def reading(self, done: int, total: int) -> None:
        return

    def stage_started(self, name: str, epochs: int, steps: int, done: int) -> None:
        return

    def stepped(self, epoch: int, step: int) -> None:
        return

    def epoch_done(self, row: Row, genotype: Genotype | None) -> None:
        if self.on_epoch is not None:
            self.on_epoch(row)

    def stage_done(self, name: str) -> None:
        return


def in_notebook() -> Console:
    """A console that writes whole lines where a notebook shows them; no bar, which it cannot."""
    return Console(file=sys.stdout, force_jupyter=False, force_terminal=False)


class Shown:
    """A bar with the time left (on a terminal), and a line for each epoch."""

    estimates = True

    def __init__(self, console: Console, on_epoch: OnEpoch | None = None) -> None:
        self.console, self.on_epoch = console, on_epoch
        self.later: dict[str, float] = {}
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.name, self.epochs, self.steps = "", 0, 0
        self.done, self.started = 0, 0.0

    def say(self, text: str) -> None:
        self.console.print(plain(text), highlight=False, markup=False, soft_wrap=True)

    def expect(self, later: dict[str, float]) -> None:
        self.later = later

    def reading(self, done: int, total: int) -> None:
        """Images decoded so far; done where both are 0."""
        if not total:
            self._stop()
            return
        if self.progress is None:
            self._start("reading images", total, 0, "images")
        if self.progress is not None:
            self.progress.update(self.task, completed=done, left="")

    def _start(self, what: str, total: int, completed: int, unit: str) -> None:
        if not self.console.is_terminal:
            return
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
        )
        self.task = self.progress.add_task(what, total=total, completed=completed, left="")
        self.progress.start()

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def stage_started(self, name: str, epochs: int, steps: int, done: int) -> None:
        self.name, self.epochs, self.steps = name, epochs, steps
        self.done, self.started = done * steps, time.monotonic()
        self._start(name, epochs * steps, self.done, "steps")

    def stepped(self, epoch: int, step: int) -> None:
        if self.progress is None:
            return
        position = epoch * self.steps + step
        taken = position - self.done
        seconds = time.monotonic() - self.started
        left = seconds / taken * (self.epochs * self.steps - position) if taken > 0 else 0.0
        text = f"{duration(left)} left"
        if self.later.get(self.name):
            text += f", then about {duration(self.later[self.name])}"
        self.progress.update(
            self.task,
            completed=position,
            description=f"{self.name} epoch {epoch + 1}/{self.epochs}",
            left=text,
        )

    def epoch_done(self, row: Row, genotype: Genotype | None) -> None:
        line = (
            f"{row['stage']:<12} epoch {row['epoch'] + 1:>3}/{self.epochs}  "
            f"loss {row['loss']:.4f}  accuracy {100 * row['accuracy']:5.1f} %  "
            f"{duration(row['seconds'])}"
        )
        if "temperature" in row:
            line += f"  T {row['temperature']:.3g}"
        if "beta_entropy" in row:
            line += f"  undecided {100 * row['beta_entropy']:.0f} %"
        self.say(line)
        if genotype is not None:
            self.say(f"{'':13}{short_cell(genotype)}")
        if self.on_epoch is not None:
            self.on_epoch(row)

    def stage_done(self, name: str) -> None:
        self._stop()
