"""dots runs: the runs in a folder, one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dots.cli import options as o
from dots.cli.tables import millions, print_table
from dots.common.errors import UserError
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.runs.summary import RunSummary


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(runs)


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that holds run directories.")
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: o.Debug = False,
) -> None:
    """List the runs in DIR with their state, accuracy and cost."""
    from dots.runs.summary import summaries

    if not folder.is_dir():
        raise UserError(f"there is no folder {str(folder)!r}: name the one that holds the runs")
    found = summaries(folder)
    if as_json:
        print(json.dumps([run.to_json() for run in found], indent=2))
    elif not found:
        print(plain(f"no runs in {folder}"))
    else:
        _print(found)


def _print(found: list[RunSummary]) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("run", "state", "data", "preset"):
        table.add_column(heading)
    for heading in ("accuracy", "random cell", "parameters", "CPU time"):
        table.add_column(heading, justify="right")
    for run in found:
        size = "-" if run.parameters is None else f"{millions(run.parameters)} M"
        words = (run.name, run.state, run.data or "-", run.preset or "-")
        numbers = (_share(run.accuracy), _share(run.random_accuracy), size, _time(run.cpu_seconds))
        table.add_row(*map(plain, words), *numbers)
    print_table(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _time(seconds: float | None) -> str:
    from dots.runs.progress import duration

    return "-" if seconds is None else duration(seconds)
