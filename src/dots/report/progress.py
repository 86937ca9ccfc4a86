"""How far a run has come, how long it will still take, and which cell it is heading for.

All is from its files: the run may be another process's, or over.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dots.common.errors import UserError
from dots.common.records import LOCK, METRICS, ArchitectureRow, MetricRow
from dots.recipe.shares import STAGES
from dots.report.graph import choices_of, space_of
from dots.report.headline import planned_epochs
from dots.report.reading import FOUND, SEARCHED, Run, read_run
from dots.report.wording import NONE, duration, operation, percent, stage_name, visible
from dots.space.discretise import derive_darts, derive_dots
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace

RECENT = 5
PATIENCE = 10.0
"""A run is silent when nothing came for so many times the length of an epoch."""


@dataclass(frozen=True)
class StageProgress:
    """A stage: epochs done and planned, seconds spent, seconds left (None: not known).

    `over`: all epochs are done, or a later stage has begun (a search may stop early).
    """

    name: str
    done: int
    planned: int | None
    seconds: float
    seconds_left: float | None
    over: bool


@dataclass(frozen=True)
class Progress:
    """A run at one moment.

    `seconds_left` sums what can be estimated; `complete` says whether that is all.
    `silent_seconds` is set where a run that is not finished has not written for long, and
    `stopped` where no process works on it (its lock file is empty).
    """

    name: str
    stages: tuple[StageProgress, ...]
    current: str | None
    epochs: tuple[MetricRow, ...]
    genotype: Genotype | None
    genotype_title: str
    seconds_left: float | None
    complete: bool
    silent_seconds: float | None
    stopped: bool
    finished: bool
    test_accuracy: float | None


def progress_of(run: Run) -> Progress:
    """Where the run stands, from its files."""
    names = list(_stage_names(run))
    begun = [index for index, name in enumerate(names) if run.rows(name)]
    last = max(begun, default=-1)
    stages = tuple(_stage(run, name, index < last) for index, name in enumerate(names))
    finished = run.result is not None
    current = None if finished else next((s.name for s in stages if not s.over), None)
    left = [s.seconds_left for s in stages if not s.over]
    known = [seconds for seconds in left if seconds is not None]
    genotype, title = run.genotypes.get(FOUND), "found cell"
    if genotype is None:
        genotype, title = run.genotypes.get(SEARCHED), "searched cell"
    if genotype is None:
        genotype, title = current_genotype(run), "cell if the search ended now"
    latest = run.metrics[-1].stage if run.metrics else None
    return Progress(
        name=run.name,
        stages=stages,
        current=current,
        epochs=tuple(run.rows(latest)) if latest else (),
        genotype=genotype,
        genotype_title=title,
        seconds_left=sum(known) if known and not finished else None,
        complete=len(known) == len(left),
        silent_seconds=None if finished else _silence(run),
        stopped=not finished and _is_stopped(run),
        finished=finished,
        test_accuracy=run.result.test_accuracy if run.result else None,
    )


def _stage_names(run: Run) -> Iterator[str]:
    """The stages that the recipe plans, in order, then any others that ran."""
    baselines = run.setting("baselines")
    cells = [f"train-{name}" for name in baselines] if isinstance(baselines, list) else []
    planned = [s for s in (*STAGES, *cells) if planned_epochs(run, s)]
    yield from planned
    yield from dict.fromkeys(row.stage for row in run.metrics if row.stage not in planned)


def _stage(run: Run, name: str, passed: bool) -> StageProgress:
    rows = run.rows(name)
    planned = planned_epochs(run, name)
    times = [value for row in rows if (value := row.number("seconds")) is not None]
    pace = _pace(run, name)
    over = passed or (planned is not None and len(rows) >= planned)
    left = None if planned is None or pace is None else pace * (planned - len(rows))
    return StageProgress(name, len(rows), planned, sum(times), 0.0 if over else left, over)


def _pace(run: Run, name: str) -> float | None:
    """Seconds an epoch, lately; cells that have not begun are taken to be like the first."""
    for stage in (name, "train") if name.startswith("train") else (name,):
        times = [value for row in run.rows(stage) if (value := row.number("seconds")) is not None]
        if times:
            return median(times[-RECENT:])
    return None


def _is_stopped(run: Run) -> bool:
    """Whether the lock was given up: it holds who works on the run, and is emptied then."""
    lock = run.path / LOCK
    told = sys.platform != "win32"  # there nobody can read a file that is locked
    return told and lock.is_file() and lock.stat().st_size == 0


def _silence(run: Run) -> float | None:
    """Seconds since the last row, where that is far longer than an epoch takes."""
    path = run.path / METRICS
    if not run.metrics or not path.is_file():
        return None
    age = time.time() - path.stat().st_mtime
    pace = _pace(run, run.metrics[-1].stage) or 0.0
    return age if age > max(60.0, PATIENCE * pace) else None


def current_genotype(run: Run) -> Genotype | None:
    """The cell that would be derived from the latest recorded weights, where that is known."""
    space = space_of(run)
    if space is None or not run.architecture:
        return None
    latest = run.architecture[-1]
    try:
        if latest.stage == "operations":
            return derive_darts(space, latest.alpha)
        return _from_topology(run, space, latest)
    except (UserError, ValueError, KeyError, IndexError):  # a record of another shape
        return None


def _from_topology(run: Run, space: SearchSpace, row: ArchitectureRow) -> Genotype | None:
    if run.candidates is None:
        return None
    choices = choices_of(run)
    kept: dict[str, list[int]] = {}
    for kind in space.kinds:
        kept[kind] = []
        for incoming, values in zip(space.cell.incoming, row.beta[kind], strict=False):
            if len(values) != len(choices.columns(len(incoming))):
                return None
            kept[kind] += [incoming[edge] for edge in choices.kept(len(incoming), values)]
    candidates = {
        kind: tuple(tuple(names) for names in rows)
        for kind, rows in run.candidates.candidates.items()
    }
    return derive_dots(space, candidates, row.alpha, kept)


INTERVAL = 1.0
"""Seconds between two looks at the directory."""
SHOWN_EPOCHS = 8


def watch(
    run: Path,
    *,
    console: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show the run in the terminal until it ends, is stopped, or the user presses Ctrl-C.

    Stage, epoch, loss, accuracy, the current genotype and the time left, read from the files
    of the directory; a line that is just being written is left for the next look. `sleep`
    waits between two looks. Raises UserError where `run` is no run directory.
    """
    state = progress_of(read_run(run))
    with Live(render(state), console=console, auto_refresh=False) as live:
        try:
            while not state.finished and not state.stopped:
                sleep(INTERVAL)
                state = progress_of(read_run(run))
                live.update(render(state), refresh=True)
        except KeyboardInterrupt:
            return  # the run itself goes on


def render(state: Progress) -> RenderableType:
    """The state as something that rich can print."""
    parts: list[RenderableType] = [_heading(state), _stages(state)]
    if state.epochs:
        parts.append(_epochs(state))
    if state.genotype is not None:
        parts += [Text(f"\n{state.genotype_title}", style="bold"), Text(_cells(state))]
    return Group(*parts)


def _heading(state: Progress) -> Text:
    text = Text(visible(state.name), style="bold")
    if state.finished:
        text.append(f"  finished: test accuracy {percent(state.test_accuracy)}", style="green")
    elif state.seconds_left is not None:
        more = "" if state.complete else " and the stages that have not begun"
        text.append(f"  about {duration(state.seconds_left)} left{more}", style="not bold")
    if state.stopped:
        text.append("\nno process works on this run; --resume continues it", "yellow")
    elif state.silent_seconds is not None:
        text.append(f"\nno news for {duration(state.silent_seconds)}: is it running?", "yellow")
    return text


def _stages(state: Progress) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("stage", "epoch", "time", "left"):
        table.add_column(heading, style="" if heading == "stage" else "cyan", no_wrap=True)
    for stage in state.stages:
        planned = f"/{stage.planned}" if stage.planned else ""
        table.add_row(
            Text(("> " if stage.name == state.current else "  ") + stage_name(stage.name)),
            f"{stage.done}{planned}",
            duration(stage.seconds) if stage.done else NONE,
            duration(stage.seconds_left) if stage.seconds_left else NONE,
        )
    return table


def _epochs(state: Progress) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title="latest epochs", title_justify="left")
    for heading in ("epoch", "loss", "accuracy", "time", "T"):
        table.add_column(heading, justify="right")
    for row in state.epochs[-SHOWN_EPOCHS:]:
        loss, cold = row.number("loss"), row.number("temperature")
        table.add_row(
            str(row.epoch + 1),
            NONE if loss is None else f"{loss:.4f}",
            percent(row.number("accuracy"), 1),
            duration(row.number("seconds")),
            NONE if cold is None else f"{cold:.3g}",
        )
    return table


def _cells(state: Progress) -> str:
    if state.genotype is None:
        return ""
    lines = []
    for kind, cell in state.genotype.cells.items():
        nodes = (
            " + ".join(f"{operation(edge.op)}({edge.source})" for edge in edges) or "no input"
            for edges in cell.nodes
        )
        lines.append(f"{kind}: " + "; ".join(nodes))
    return "\n".join(lines)
