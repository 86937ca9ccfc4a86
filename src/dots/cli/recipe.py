"""dots recipe: the settings of a preset."""

from __future__ import annotations

from typing import Annotated

import typer

from dots.cli import options as o


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(recipe)


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
