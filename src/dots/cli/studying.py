"""dots study ...: many searches and trainings, and what may be concluded from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dots.cli import options as o
from dots.cli.study_job import AskedStudy

study = typer.Typer(
    help="Studies of many searches: tables, figures and captions, resumable.", no_args_is_help=True
)

Seeds = Annotated[str, typer.Option(help="Seeds, as 0,1,2.")]
Strategies = Annotated[
    str | None, typer.Option(help="Methods to compare, as darts,gdas; default: all.")
]
Table = Annotated[
    Path | None,
    typer.Option(help="The table of NAS-Bench-201 (parquet): true accuracies, no training."),
]
Column = Annotated[
    str | None, typer.Option(help="The column of the table to go by; default: the first.")
]
Workers = Annotated[int, typer.Option(help="Trials at once, each in a process of its own.")]
Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run trials on a Ray cluster; 'local' starts one here."),
]
Retries = Annotated[int, typer.Option(help="How often a trial that fails or dies is repeated.")]
Resume = Annotated[Path | None, typer.Option(metavar="DIR", help="Continue the study in DIR.")]
Out = Annotated[
    Path | None, typer.Option(help="The study's directory; default: the next runs/study-NAME-N.")
]
TrainSeeds = Annotated[int, typer.Option(help="Trainings of each pair of edges.")]
RandomCells = Annotated[int, typer.Option(help="At most so many random cells for each seed.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(study, name="study")


@study.command("plug-in")
def plug_in(
    data: o.Data = None,
    strategies: Strategies = None,
    seeds: Seeds = "0,1,2",
    preset: o.Preset = None,
    recipe: o.RecipeFile = None,
    set_: o.Set = None,
    space: o.Space = None,
    image_size: o.ImageSize = None,
    table: Table = None,
    column: Column = None,
    workers: Workers = 1,
    ray: Ray = None,
    retries: Retries = 2,
    device: o.Device = None,
    no_download: o.NoDownload = False,
    out: Out = None,
    resume: Resume = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Table 2: each strategy without and with topology search, from the same operation search."""
    from dots.strategies import STRATEGIES

    names = (
        tuple(part.strip() for part in strategies.split(",")) if strategies else tuple(STRATEGIES)
    )
    shortcuts = {"space": space, "data.image_size": image_size}
    AskedStudy(
        "plug-in", data, preset, recipe, set_, shortcuts, seeds, table, column, workers, ray,
        retries, device, no_download, out, resume, quiet, default=("retain=top1",),
    ).go(strategies=names)  # fmt: skip


@study.command()
def rank(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2",
    train_seeds: TrainSeeds = 3,
    preset: o.Preset = None,
    recipe: o.RecipeFile = None,
    set_: o.Set = None,
    space: o.Space = None,
    image_size: o.ImageSize = None,
    table: Table = None,
    column: Column = None,
    workers: Workers = 1,
    ray: Ray = None,
    retries: Retries = 2,
    device: o.Device = None,
    no_download: o.NoDownload = False,
    out: Out = None,
    resume: Resume = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Fig. 1: do the weights of a search rank topologies as their accuracies do?"""
    shortcuts = {"strategy": strategy, "space": space, "data.image_size": image_size}
    AskedStudy(
        "rank", data, preset, recipe, set_, shortcuts, seeds, table, column, workers, ray,
        retries, device, no_download, out, resume, quiet,
    ).go(train_seeds=train_seeds)  # fmt: skip


@study.command()
def ablation(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2",
    preset: o.Preset = None,
    recipe: o.RecipeFile = None,
    set_: o.Set = None,
    space: o.Space = None,
    image_size: o.ImageSize = None,
    table: Table = None,
    column: Column = None,
    workers: Workers = 1,
    ray: Ray = None,
    retries: Retries = 2,
    device: o.Device = None,
    no_download: o.NoDownload = False,
    out: Out = None,
    resume: Resume = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Tables 4a and 4b: topology parameterisations, and ways of retaining operations."""
    shortcuts = {"strategy": strategy, "space": space, "data.image_size": image_size}
    AskedStudy(
        "ablation", data, preset, recipe, set_, shortcuts, seeds, table, column, workers, ray,
        retries, device, no_download, out, resume, quiet,
    ).go()  # fmt: skip


@study.command()
def repeat(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2,3",
    preset: o.Preset = None,
    recipe: o.RecipeFile = None,
    set_: o.Set = None,
    space: o.Space = None,
    image_size: o.ImageSize = None,
    table: Table = None,
    column: Column = None,
    workers: Workers = 1,
    ray: Ray = None,
    retries: Retries = 2,
    device: o.Device = None,
    no_download: o.NoDownload = False,
    out: Out = None,
    resume: Resume = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Table 1's own row: independent searches; best, and mean ± standard deviation."""
    shortcuts = {"strategy": strategy, "space": space, "data.image_size": image_size}
    AskedStudy(
        "repeat", data, preset, recipe, set_, shortcuts, seeds, table, column, workers, ray,
        retries, device, no_download, out, resume, quiet,
    ).go()  # fmt: skip


@study.command()
def random(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2",
    random_cells: RandomCells = 10,
    preset: o.Preset = None,
    recipe: o.RecipeFile = None,
    set_: o.Set = None,
    space: o.Space = None,
    image_size: o.ImageSize = None,
    table: Table = None,
    column: Column = None,
    workers: Workers = 1,
    ray: Ray = None,
    retries: Retries = 2,
    device: o.Device = None,
    no_download: o.NoDownload = False,
    out: Out = None,
    resume: Resume = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Search against random cells at equal cost: how often does it win, by how much?"""
    shortcuts = {"strategy": strategy, "space": space, "data.image_size": image_size}
    AskedStudy(
        "random", data, preset, recipe, set_, shortcuts, seeds, table, column, workers, ray,
        retries, device, no_download, out, resume, quiet,
    ).go(random_cells=random_cells)  # fmt: skip
