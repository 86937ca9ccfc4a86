"""dots run, dots search, dots train: the jobs that make or continue a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dots.cli import options as o
from dots.cli.asked import Asked
from dots.errors import UserError

Baselines = Annotated[
    bool, typer.Option("--baselines", help="Also train the cell of the DARTS policy.")
]
Until = Annotated[str | None, typer.Option(help="'operations': stop before the topology search.")]
CandidatesFile = Annotated[
    Path | None,
    typer.Option(
        "--candidates",
        help="Only the topology search, from candidates.json or anyone's scores.",
    ),
]
Table = Annotated[
    Path | None,
    typer.Option(help="The table of NAS-Bench-201 (parquet): the true accuracies of its cells."),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(run)
    app.command()(search)
    app.command()(train)


def run(
    data: o.Data = None,
    preset: o.Preset = None,
    seed: o.Seed = None,
    out: o.Out = None,
    device: o.Device = None,
    devices: o.Devices = 1,
    workers: o.Workers = 0,
    batch: o.Batch = None,
    image_size: o.ImageSize = None,
    strategy: o.Strategy = None,
    space: o.Space = None,
    set_: o.Set = None,
    recipe: o.RecipeFile = None,
    table: Table = None,
    baselines: Baselines = False,
    max_params: o.MaxParameters = None,
    max_multiply_adds: o.MaxMultiplyAdds = None,
    latency_target: o.LatencyTarget = None,
    latency_table: o.LatencyTable = None,
    time_limit: o.TimeLimit = None,
    max_memory: o.MaxMemory = None,
    low_memory: o.LowMemory = False,
    precision: o.Precision = None,
    compile_: o.Compile = False,
    resume: o.Resume = None,
    extend: o.Extend = None,
    skip_corrupt: o.SkipCorrupt = False,
    no_download: o.NoDownload = False,
    dry_run: o.DryRun = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Search a cell for DATA, train its network, test it, and write a report."""
    asked = Asked("run", data, resume, dry_run, quiet, out)
    asked.table, asked.extend = table, extend
    asked.machine = o.make_machine(
        device,
        devices,
        workers,
        skip_corrupt=skip_corrupt,
        no_download=no_download,
        latency_table=latency_table,
    )
    asked.limits = (time_limit, max_memory)
    asked.preset, asked.file, asked.overrides = preset, recipe, set_
    asked.shortcuts = {
        "seed": seed,
        "batch": batch,
        **o.computing(low_memory=low_memory, precision=precision, compiled=compile_),
        "data.image_size": image_size,
        "strategy": strategy,
        "space": space,
        **o.budget(max_params, max_multiply_adds, latency_target),
        "baselines": "random,darts-policy" if baselines else None,
    }
    asked.go()


def search(
    data: o.Data = None,
    candidates: CandidatesFile = None,
    until: Until = None,
    preset: o.Preset = None,
    seed: o.Seed = None,
    out: o.Out = None,
    device: o.Device = None,
    devices: o.Devices = 1,
    workers: o.Workers = 0,
    batch: o.Batch = None,
    image_size: o.ImageSize = None,
    strategy: o.Strategy = None,
    space: o.Space = None,
    set_: o.Set = None,
    recipe: o.RecipeFile = None,
    table: Table = None,
    max_params: o.MaxParameters = None,
    max_multiply_adds: o.MaxMultiplyAdds = None,
    latency_target: o.LatencyTarget = None,
    latency_table: o.LatencyTable = None,
    time_limit: o.TimeLimit = None,
    max_memory: o.MaxMemory = None,
    low_memory: o.LowMemory = False,
    precision: o.Precision = None,
    compile_: o.Compile = False,
    resume: o.Resume = None,
    skip_corrupt: o.SkipCorrupt = False,
    no_download: o.NoDownload = False,
    dry_run: o.DryRun = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Search a cell for DATA: operations, then topology. The result is genotype.json."""
    if until not in (None, "operations"):
        raise UserError(f"--until {until}: the only place to stop early is 'operations'")
    if until and candidates:
        raise UserError("--until operations and --candidates exclude each other")
    asked = Asked("operations" if until else "search", data, resume, dry_run, quiet, out)
    asked.candidates, asked.table = candidates, table
    asked.positional = {"--until": until}
    asked.machine = o.make_machine(
        device,
        devices,
        workers,
        skip_corrupt=skip_corrupt,
        no_download=no_download,
        latency_table=latency_table,
    )
    asked.limits = (time_limit, max_memory)
    asked.preset, asked.file, asked.overrides = preset, recipe, set_
    asked.shortcuts = {
        "seed": seed,
        "batch": batch,
        **o.computing(low_memory=low_memory, precision=precision, compiled=compile_),
        "data.image_size": image_size,
        "strategy": strategy,
        "space": space,
        **o.budget(max_params, max_multiply_adds, latency_target),
    }
    asked.go()


def train(
    genotype: Annotated[
        str | None,
        typer.Argument(
            show_default=False,
            help="A genotype file, a run, a name of the zoo, or a reference network: mobilenet, "
            "densenet_bc, ...",
        ),
    ] = None,
    data: o.Data = None,
    preset: o.Preset = None,
    seed: o.Seed = None,
    out: o.Out = None,
    device: o.Device = None,
    devices: o.Devices = 1,
    workers: o.Workers = 0,
    batch: o.Batch = None,
    image_size: o.ImageSize = None,
    set_: o.Set = None,
    recipe: o.RecipeFile = None,
    own_skeleton: Annotated[
        bool,
        typer.Option(
            "--own-skeleton", help="Put a cell of the zoo into the network it was published in."
        ),
    ] = False,
    from_weights: Annotated[
        bool,
        typer.Option(
            "--from-weights",
            help="Begin with the weights of a run's network; only its classifier is new.",
        ),
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also train a random cell of the same space.")
    ] = False,
    time_limit: o.TimeLimit = None,
    max_memory: o.MaxMemory = None,
    low_memory: o.LowMemory = False,
    precision: o.Precision = None,
    compile_: o.Compile = False,
    resume: o.Resume = None,
    extend: o.Extend = None,
    skip_corrupt: o.SkipCorrupt = False,
    no_download: o.NoDownload = False,
    dry_run: o.DryRun = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Train the network of GENOTYPE on DATA, from scratch unless told otherwise, and test it."""
    asked = Asked("train", data, resume, dry_run, quiet, out)
    asked.extend = extend
    sized: dict[str, object] = {}
    if resume is None:
        if from_weights:
            sized = asked.tuned(genotype, own_skeleton)
        else:
            asked.trainee(genotype, own_skeleton)
    asked.positional = {
        "GENOTYPE": genotype,
        "--own-skeleton": own_skeleton or None,
        "--from-weights": from_weights or None,
    }
    asked.machine = o.make_machine(
        device, devices, workers, skip_corrupt=skip_corrupt, no_download=no_download
    )
    asked.limits = (time_limit, max_memory)
    asked.preset, asked.file, asked.overrides = preset, recipe, set_
    asked.shortcuts = {
        "seed": seed,
        "batch": batch,
        **o.computing(low_memory=low_memory, precision=precision, compiled=compile_),
        "data.image_size": image_size,
        "space": asked.genotype.space if asked.genotype else None,
        "baselines": "random" if baselines else None if resume else "[]",
        **sized,
    }
    asked.go()
