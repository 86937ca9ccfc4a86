"""dots test, report, watch: what is done with a finished run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dots.cli import options as o
from dots.common.errors import UserError
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.common.plugins import Given
    from dots.space.search_space import SearchSpace

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("test")(on_test_part)
    app.command()(report)
    app.command()(watch)


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
