"""dots test, report, watch, runs: what is done with runs; dots recipe: what one is made of."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dots.cli import options as o
from dots.cli.tables import millions, print_table
from dots.common.errors import UserError
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.common.plugins import Given
    from dots.runs.summary import RunSummary
    from dots.space.search_space import SearchSpace


Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("test")(on_test_part)
    app.command()(report)
    app.command()(watch)
    app.command()(runs)


def on_test_part(
    run: Run,
    data: Annotated[str, typer.Argument(help="The data; their test part is used.")],
    device: o.Device = None,
    as_json: AsJson = False,
    skip_corrupt: o.SkipCorrupt = False,
    no_download: o.NoDownload = False,
    space: o.OwnSpace = None,
    debug: o.Debug = False,
) -> None:
    """Test the network of RUN on the test part of DATA."""
    from dots.runs.predict import evaluate_run

    result, notices = evaluate_run(
        run,
        o.data(data),
        device=device,
        skip_corrupt=skip_corrupt,
        download=not no_download,
        space=o.own_space(run, space),
    )
    for notice in notices:
        print(plain(notice), file=sys.stderr)
    if as_json:
        print(json.dumps(result.summary()))
        return
    print(f"images              {result.images:>8}")
    print(f"accuracy            {100 * result.accuracy:>8.2f} %")
    if result.top5 is not None:
        print(f"top-5 accuracy      {100 * result.top5:>8.2f} %")
    print(f"balanced accuracy   {100 * result.balanced_accuracy:>8.2f} %")
    print(f"loss                {result.loss:>8.4f}")


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run, or several.")],
    out: Annotated[Path | None, typer.Option(help="Where a comparison goes.")] = None,
    sizes: Annotated[
        bool,
        typer.Option("--sizes", help="Also count the zoo and reference networks on such images."),
    ] = False,
    strategy: o.OwnStrategy = None,
    space: o.OwnSpace = None,
    debug: o.Debug = False,
) -> None:
    """Write report.html of a run anew, or compare several runs on one page."""
    from dots.report import write_comparison, write_report

    if len(runs) == 1:
        if out is not None:
            raise UserError("--out is for comparisons: the report of a run lies in the run")
        if sizes:
            from dots.runs.known_sizes import write_sizes

            write_sizes(runs[0])
        given = o.hand_over(strategy, space)
        print(plain(write_report(runs[0], _space_to_report(runs[0], given))))
    elif sizes:
        raise UserError("--sizes is for the report of one run: a comparison has trained networks")
    else:
        print(plain(write_comparison(runs, out or Path("comparison.html"))))


def _space_to_report(path: Path, given: Given) -> SearchSpace | None:
    """The run's space, where it is here; what is from outside and is not is said in lines."""
    from dots.common.records import RECIPE
    from dots.runs.directory import RunDirectory
    from dots.runs.plugins import notes
    from dots.space.search_space import given_space

    if (path / RECIPE).is_file():
        try:
            lines = list(notes(RunDirectory.read(path), given))
        except UserError as error:  # the page says what it can
            lines = [str(error)]
        for line in lines:
            print(plain(f"note: {line}"), file=sys.stderr)
    return given_space(given.space)


def watch(run: Run, debug: o.Debug = False) -> None:
    """Follow a run that another process does."""
    from dots.report.progress import watch as follow

    follow(run)


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


def recipe(
    preset: Annotated[
        str | None, typer.Argument(help="tiny, quick, small, paper-cifar, ...")
    ] = None,
    file: o.RecipeFile = None,
    set_: o.Set = None,
    debug: o.Debug = False,
) -> None:
    """Print the settings of a preset as TOML, ready to be edited and given to --recipe."""
    from dots.recipe import build_recipe, to_toml

    print(to_toml(build_recipe(preset, file, set_ or ())), end="")
