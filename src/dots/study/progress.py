"""What a person sees of a study: a bar with the time left, and a line for each trial."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dots.common.text import plain
from dots.runs.progress import duration
from dots.study.execution.attempts import Record
from dots.study.trial import Trial


class NoBar:
    """Says nothing."""

    def start(self, expected: int, done: Iterable[Record], capacity: int) -> None:
        return

    def running(self, running: Counter[str], queued: Counter[str]) -> None:
        return

    def ended(self, trial: Trial, record: Record, queued: Counter[str]) -> None:
        return

    def stop(self) -> None:
        return


class Bar:
    """Trials done of about so many; the time left from how long trials of a kind took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._done = self._expected = 0
        self._capacity = 1
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    def start(self, expected: int, done: Iterable[Record], capacity: int) -> None:
        self._done = len(list(done))
        self._expected, self._capacity = max(expected, self._done), capacity
        if self._done:
            self.console.print(f"{self._done} trials are done already", highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} trials"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task(
            "study", total=self._expected, completed=self._done, left=""
        )
        self._progress.start()

    def running(self, running: Counter[str], queued: Counter[str]) -> None:
        """Show what runs now."""
        named = [f"{count} {kind}" for kind, count in running.items() if count]
        self._show(queued, description=", ".join(named) or "study")

    def ended(self, trial: Trial, record: Record, queued: Counter[str]) -> None:
        """Print a line for a trial that ended, and count it."""
        self._done += 1
        self._seconds[trial.kind].append(record.seconds)
        line = f"{time.strftime('%H:%M:%S')}  {trial.name}  {duration(record.seconds)}"
        if record.error is not None:
            line += f"  FAILED after {record.attempts} attempts: {record.error}"
        self.console.print(plain(line), highlight=False, markup=False, soft_wrap=True)
        self._show(queued)

    def _show(self, queued: Counter[str], description: str | None = None) -> None:
        if self._progress is None:
            return
        self._expected = max(self._expected, self._done + queued.total())
        left = self._seconds_left(queued)
        self._progress.update(
            self._task,
            completed=self._done,
            total=self._expected,
            description=description,
            left="" if left is None else f"about {duration(left)} left",
        )

    def _seconds_left(self, queued: Counter[str]) -> float | None:
        """What is queued takes as long as others of its kind; what will come, as any."""
        taken = [seconds for kind in self._seconds.values() for seconds in kind]
        if not taken:
            return None
        usual = sum(taken) / len(taken)
        left = usual * (self._expected - self._done - queued.total())
        for kind, count in queued.items():
            known = self._seconds.get(kind)
            left += count * (sum(known) / len(known) if known else usual)
        return left / self._capacity

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
