"""The commands, and what becomes of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from dots.cli import check as inspecting
from dots.cli import count as genotypes
from dots.cli import export as exporting
from dots.cli import profile as profiling
from dots.cli import recipe as recipes
from dots.cli import run as running
from dots.cli import study as studying
from dots.cli import use as using
from dots.cli import zoo as published
from dots.common.errors import UserError

app = typer.Typer(
    name="dots",
    help="Finds convolutional cells for your own images: operation search, topology search, "
    "training, test and report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
running.add_to(app)
using.add_to(app)
exporting.add_to(app)
genotypes.add_to(app)
published.add_to(app)
recipes.add_to(app)
inspecting.add_to(app)
profiling.add_to(app)
studying.add_to(app)


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
        print(f"dots: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dots: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141  # as the shell says of a command whose reader has gone
    return 0
