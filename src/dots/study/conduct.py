"""From a study's plan to its table, figure and caption, from wherever it was left."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dots.common.text import plain
from dots.runs.progress import duration
from dots.study.base import Study
from dots.study.directory import FIGURES, VERSION, StudyDirectory
from dots.study.execution.attempts import Executor, Record, run_all
from dots.study.lines import Row
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


RETRIES = 2


def conduct(
    study: Study,
    directory: StudyDirectory,
    executor: Executor,
    *,
    retries: int = RETRIES,
    bar: Bar | NoBar | None = None,
    stop_signal: Callable[[], int | None] = lambda: None,
) -> list[Row]:
    """Run all trials that have no result yet, and write study.json, table.md and the figures.

    What a finished trial gave is kept and never computed again; one that had failed is tried
    again. study.json and table.md are brought up to date after each trial. Returns the rows.
    Raises dots.training.loop.Interrupted when asked to stop; the study can then be conducted again.
    """
    bar = bar or NoBar()
    results = {name: one for name, one in directory.records().items() if one.error is None}
    queued: dict[str, Trial] = {}

    def kinds() -> Counter[str]:
        return Counter(trial.kind for trial in queued.values())

    bar.start(study.expected(), results.values(), executor.capacity)

    def ready() -> list[Trial]:
        named = {trial.name: trial for trial in study.trials(results)}
        new = [named[name] for name in named if name not in results and name not in queued]
        queued.update({trial.name: trial for trial in new})
        return new

    def finish(trial: Trial, record: Record) -> list[Trial]:
        directory.keep(trial, record)
        results[trial.name] = record
        del queued[trial.name]
        new = ready()
        write_results(study, directory, results, complete=not queued)
        bar.ended(trial, record, kinds())
        return new

    def tick(running: Counter[str]) -> None:
        bar.running(running, kinds())

    try:
        run_all(
            executor,
            ready(),
            directory.folder,
            finish,
            retries=retries,
            stop_signal=stop_signal,
            tick=tick,
        )
    finally:
        bar.stop()
    rows = write_results(study, directory, results, complete=True)
    for name in FIGURES:
        study.draw(rows, directory.path / name)
    return rows


def write_results(
    study: Study, directory: StudyDirectory, results: dict[str, Record], *, complete: bool
) -> list[Row]:
    """Write study.json and table.md from what is known; returns the rows."""
    rows = study.rows(results)
    caption = study.caption(rows)
    directory.write(
        study_json(study, rows, caption, complete=complete),
        f"# {study.title}\n\n{study.markdown(rows)}\n\n{caption}\n",
    )
    return rows


def study_json(study: Study, rows: Sequence[Row], caption: str, *, complete: bool) -> Row:
    """The content of study.json. `complete`: no trial is still to be run."""
    options = study.options
    content: dict[str, Any] = {
        "version": VERSION,
        "study": study.name,
        "complete": complete,
        "data": options.data,
        "space": options.recipe.space,
        "preset": options.recipe.preset,
        "seeds": list(options.seeds),
        "column": options.true_column if options.truth else None,
        "rows": list(rows),
        "table": study.table(rows),
        "caption": caption,
    }
    return content | study.extras(rows)
