"""A live run in the terminal, from its files alone: it may be another process's, or over."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dots.report.progress import Standing, standing_of
from dots.report.reading import read_run
from dots.report.wording import NONE, duration, operation, percent, stage_name, visible

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
    state = standing_of(read_run(run))
    with Live(render(state), console=console, auto_refresh=False) as live:
        try:
            while not state.finished and not state.stopped:
                sleep(INTERVAL)
                state = standing_of(read_run(run))
                live.update(render(state), refresh=True)
        except KeyboardInterrupt:
            return  # the run itself goes on


def render(state: Standing) -> RenderableType:
    """The state as something that rich can print."""
    parts: list[RenderableType] = [_heading(state), _stages(state)]
    if state.epochs:
        parts.append(_epochs(state))
    if state.genotype is not None:
        parts += [Text(f"\n{state.genotype_title}", style="bold"), Text(_cells(state))]
    return Group(*parts)


def _heading(state: Standing) -> Text:
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


def _stages(state: Standing) -> Table:
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


def _epochs(state: Standing) -> Table:
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


def _cells(state: Standing) -> str:
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
