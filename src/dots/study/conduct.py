"""From a study's plan to its table, figure and caption, from wherever it was left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from dots.study.base import Row, Study
from dots.study.directory import FIGURES, VERSION, StudyDirectory
from dots.study.execution.attempts import Executor, Record, run_all
from dots.study.progress import Bar, NoBar
from dots.study.trial import Trial

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
