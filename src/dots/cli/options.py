"""The options that several commands share."""

from __future__ import annotations

import re
import sys
import tomllib
from functools import partial
from inspect import isclass, isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dots.common.errors import UserError
from dots.common.plugins import NOTHING, Given, Plugin, is_reference, load_reference
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.data.sources.read import Spec
    from dots.recipe import Recipe
    from dots.runs.launch import Machine, Watcher
    from dots.runs.limits import Limits
    from dots.space.search_space import SearchSpace

WHAT, SIZE = "What is searched, and how", "How long and how big"
MACHINE, OUTPUT = "The machine", "The run and what is printed"
"""Panels of --help; what most people need stands before them."""

_what = partial(typer.Option, rich_help_panel=WHAT)
_size = partial(typer.Option, rich_help_panel=SIZE)
_machine = partial(typer.Option, rich_help_panel=MACHINE)
_output = partial(typer.Option, rich_help_panel=OUTPUT)


Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A folder of images (one sub-folder per class), a folder of parquet files, a .npz "
        "file, a table of file names and labels (.csv), a name (digits, cifar10, cifar100, ...), "
        "hf:NAME of the Hugging Face hub, or a dataset of your own, FILE.py:NAME.",
    ),
]
Labels = Annotated[
    Path | None, _what(metavar="FILE", help="In place of DATA: a table of file names and labels.")
]
Images = Annotated[
    Path | None, _what(metavar="DIR", help="Where the files of the table are; default: beside it.")
]
Preset = Annotated[str | None, typer.Option(help="tiny, quick (default), small, paper-cifar, ...")]
Seed = Annotated[int | None, typer.Option(help="The one seed of everything random.")]
Out = Annotated[Path | None, typer.Option(help="The run directory; default: the next runs/NAME-N.")]
Device = Annotated[
    str | None, _machine(help="cpu, cuda, mps, or GPU numbers as 0 or 0,1; default: the best.")
]
Devices = Annotated[int, _machine(help="Processes, each with a device of its own.")]
Workers = Annotated[int, _machine(help="Processes that decode streamed images.")]
Batch = Annotated[int | None, _size(help="Images of a step, in every stage.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the images in pixels.")]
Set = Annotated[
    list[str] | None,
    _what("--set", metavar="NAME=VALUE", help="Change a setting; can be repeated."),
]
RecipeFile = Annotated[Path | None, _what("--recipe", help="A TOML file, or a run's recipe.json.")]
Resume = Annotated[
    Path | None, _output(metavar="DIR", help="Continue the run in DIR (DATA can be omitted).")
]
Quiet = Annotated[bool, _output("--quiet", help="Print only the result.")]
Debug = Annotated[bool, _output("--debug", help="Show the traceback of an error.")]
TimeLimit = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Cut epochs so that all ends in time: 45m, 2h, 1h30m."),
]
MaxMemory = Annotated[
    str | None,
    _machine(metavar="SIZE", help="Take batches in parts to stay below: 800M, 8G (measured)."),
]
LowMemory = Annotated[
    bool, _machine("--low-memory", help="Compute cells again in the backward pass.")
]
Compile = Annotated[
    bool, _machine("--compile", help="torch.compile the networks where that works.")
]
Precision = Annotated[
    str | None, _machine(help="32 (float32), bf16 (autocast to bfloat16) or 64 (float64).")
]
Extend = Annotated[
    int | None,
    _size(metavar="EPOCHS", help="With --resume: train so many epochs more, test again."),
]
DryRun = Annotated[
    bool, _output("--dry-run", help="Take one batch through every stage, then stop.")
]
Strategy = Annotated[
    str | None, _what(help="Method of the operation search; or your own, FILE.py:NAME.")
]
Space = Annotated[
    str | None,
    _what(help="Search space: darts, nasbench201, s2, s3, s4; or your own, FILE.py:NAME."),
]
OwnSpace = Annotated[
    str | None,
    typer.Option("--space", metavar="FILE.py:NAME", help="The search space, where it is your own."),
]
OwnStrategy = Annotated[
    str | None,
    typer.Option("--strategy", metavar="FILE.py:NAME", help="The method, where it is your own."),
]
Select = Annotated[
    str | None,
    _what(help="'perturbation': keep what the supernet misses most (DARTS-PT), not argmax."),
]
SkipCorrupt = Annotated[bool, _what("--skip-corrupt", help="Leave out images that cannot be read.")]
Logger = Annotated[
    list[str] | None,
    _output(
        metavar="NAME",
        help="Track the run also in wandb, mlflow or tensorboard (with pictures of the cells); "
        "can be repeated. A resumed run goes on in those that it has.",
    ),
]
NoDownload = Annotated[bool, _machine("--no-download", help="Never download a data set.")]
MaxParameters = Annotated[
    int | None, _size("--max-params", help="Most parameters of the network that the cell makes.")
]
MaxMultiplyAdds = Annotated[int | None, _size(help="Most multiply-adds for an image.")]
LatencyTarget = Annotated[float | None, _size(metavar="MS", help="Most milliseconds for an image.")]
LatencyTable = Annotated[
    Path | None, _size(help="Latencies that dots profile measured; default: measured now.")
]


def hand_over(strategy: str | None, space: str | None) -> Given:
    """What --strategy and --space name in files and modules: those are loaded, and no others."""
    texts = (
        text if text is not None and is_reference(text) else None for text in (strategy, space)
    )
    return Given(*(None if text is None else load_reference(text) for text in texts))


def data(text: str) -> Spec:
    """What DATA names: the text itself, or what FILE.py:NAME is, or returns where it is a function.

    Raises UserError where the file has no such thing, or its code fails.
    """
    if not re.fullmatch(r".+\.py:[\w.]+", text):
        return text
    value = load_reference(text).value
    try:
        made: Any = value() if isfunction(value) or isclass(value) else value
    except Exception as error:  # the user's own code
        raise UserError(f"{text} cannot make the data: {type(error).__name__}: {error}") from error
    spec: Spec = made
    return spec


def own_space(path: Path, text: str | None) -> SearchSpace | None:
    """The space of the run `path`, which may be the one that --space names."""
    from dots.runs.plugins import space_of

    return space_of(path, Given(space=own(text)))


def own(text: str | None) -> Plugin | None:
    """What --space names where only one of the user's own makes sense there."""
    if text is not None and not is_reference(text):
        raise UserError(f"--space {text}: give FILE.py:NAME; a space with a name is found by it")
    return None if text is None else load_reference(text)


def data_of(data: str | None, labels: Path | None) -> str | None:
    """DATA, or the table of --labels. Raises UserError where both are given."""
    if labels is None:
        return data
    if data is not None:
        raise UserError(f"DATA {data!r} and --labels {str(labels)!r} exclude each other")
    return str(labels)


def folder_of(images: Path | None) -> str | None:
    """The folder of --images, so that a run finds it again from anywhere."""
    return None if images is None else str(images.expanduser().resolve())


DEFAULTS = Path("dots.toml")


def make_recipe(
    *,
    preset: str | None,
    file: Path | None,
    overrides: list[str] | None,
    shortcuts: dict[str, Any],
    given: Given = NOTHING,
    say: bool = True,
) -> Recipe:
    """The recipe of a command line; options of their own come before --set.

    Without `file`, a dots.toml in the working directory is one, which gives way to `preset`; with
    `say` it is named on standard error.
    """
    from dots.recipe import build_recipe

    words = [*as_overrides(shortcuts), *(overrides or [])]
    yields = file is None and DEFAULTS.is_file()
    file = DEFAULTS if yields else file
    # without PyTorch: most mistakes end here
    recipe = build_recipe(preset, file, words, yields=yields)
    if yields and say:
        _say_defaults()
    if recipe.strategy == "darts" or yields:
        return recipe
    from dots.nas.plan import recipe_for

    return recipe_for(preset, file, words, given)


def _say_defaults() -> None:
    values = tomllib.loads(DEFAULTS.read_text())
    names = [
        f"{name}.{leaf}" if isinstance(value, dict) else name
        for name, value in values.items()
        for leaf in (value if isinstance(value, dict) else [""])
    ]
    print(plain(f"dots: settings from {DEFAULTS}: {', '.join(names)}"), file=sys.stderr)


def as_overrides(shortcuts: dict[str, Any]) -> list[str]:
    """`--batch 64` and the like as `name=value`, those that were given."""
    given = {name: value for name, value in shortcuts.items() if value is not None}
    batch = given.pop("batch", None)
    if batch is not None:
        given |= {f"{stage}.batch": batch for stage in ("operations", "topology", "train")}
    select = given.pop("select", None)
    if select is not None:
        given |= {"operations.select": select, "topology.select": select}
    return [f"{name}={value}" for name, value in given.items()]


def make_limits(time_limit: str | None, max_memory: str | None) -> Limits:
    """The limits of a command line. Raises UserError for what is no time or no size."""
    from dots.runs.limits import Limits
    from dots.runs.planning.memory_limit import bytes_of
    from dots.runs.planning.time_limit import seconds_of

    return Limits(
        seconds=None if time_limit is None else seconds_of(time_limit),
        memory=None if max_memory is None else bytes_of(max_memory),
    )


def make_watcher(quiet: bool) -> Watcher:
    """What the user sees while a job runs."""
    from rich.console import Console

    from dots.runs.progress import Shown, Silent

    return Silent() if quiet else Shown(Console(stderr=True))


def make_machine(
    device: str | None,
    devices: int,
    workers: int,
    *,
    skip_corrupt: bool = False,
    no_download: bool = False,
    latency_table: Path | None = None,
    loggers: list[str] | None = None,
) -> Machine:
    """The machine of a command line. Raises UserError for numbers that cannot be."""
    from dots.runs.launch import Machine

    if devices < 1:
        raise UserError(f"--devices {devices}: give a number from 1 up")
    if workers < 0:
        raise UserError(f"--workers {workers}: give a number from 0 up")
    return Machine(
        device=device,
        devices=devices,
        workers=workers,
        download=not no_download,
        skip_corrupt=skip_corrupt,
        latency_table=latency_table,
        loggers=tuple(loggers or ()),
    )
