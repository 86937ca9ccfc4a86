"""The commands, and what becomes of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from dots.cli import (
    exporting,
    genotypes,
    inspecting,
    profiling,
    published,
    recipes,
    running,
    studying,
    using,
)
from dots.errors import UserError

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
