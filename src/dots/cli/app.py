"""The commands, and what becomes of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dots.cli import check, count, export, profile, study, use, zoo
from dots.cli import run as run_command
from dots.common.errors import UserError
from dots.common.text import plain

app = typer.Typer(
    name="dots",
    help="Finds convolutional cells for your own images: operation search, topology search, "
    "training, test and report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"dots {version('dots-nas')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


run_command.add_to(app)
use.add_to(app)
export.add_to(app)
count.add_to(app)
zoo.add_to(app)
app.command()(use.recipe)
check.add_to(app)
profile.add_to(app)
study.add_to(app)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; the exit status. A user's mistake is one line on stderr."""
    debug = "--debug" in arguments
    try:
        app(args=list(arguments))
    except SystemExit as done:  # how typer ends, also for a mistake in the words
        return done.code if isinstance(done.code, int) else 0
    except UserError as error:
        if debug:
            raise
        print(plain(f"dots: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dots: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141  # as the shell says of a command whose reader has gone
    return 0
