"""dots study ...: many searches and trainings, and what may be concluded from them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dots.cli import options as o
from dots.cli.grouped import ListsInstalled, grouped
from dots.common.errors import UserError
from dots.common.plugins import is_reference
from dots.common.text import plain, plain_lines

if TYPE_CHECKING:
    from dots.runs.launch import Machine
    from dots.study.directory import StudyDirectory
    from dots.study.execution.attempts import Executor
    from dots.study.options import Options


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


@dataclass(frozen=True)
class StudyOptions:
    """The options that all studies have."""

    preset: o.Preset = None
    recipe: o.RecipeFile = None
    set_: o.Set = None
    space: o.Space = None
    image_size: o.ImageSize = None
    table: Table = None
    column: Column = None
    workers: Workers = 1
    ray: Ray = None
    retries: Retries = 2
    device: o.Device = None
    no_download: o.NoDownload = False
    out: Out = None
    resume: Resume = None
    quiet: o.Quiet = False
    debug: o.Debug = False


@dataclass(frozen=True)
class AskedStudy:
    """A study as the command line asks for it."""

    name: str
    data: str | None
    seeds: str
    options: StudyOptions
    strategy: str | None = None
    default: tuple[str, ...] = ()
    """Settings that the study changes in a preset, where no recipe file speaks."""

    @property
    def shortcuts(self) -> dict[str, Any]:
        """The options that are settings of the recipe."""
        return {
            "strategy": self.strategy,
            "space": self.options.space,
            "data.image_size": self.options.image_size,
        }

    def go(self, **more: Any) -> None:
        """Begin or continue the study; leave with its exit status."""
        from dots.study.directory import StudyDirectory
        from dots.study.studies import make_study

        if self.options.workers < 1 or self.options.retries < 0:
            raise UserError("--workers must be at least 1, --retries at least 0")
        if self.options.resume is not None:
            directory = self._opened(self.options.resume)
        else:
            options = self._options(**more)
            make_study(self.name, options)
            self._check_data(options)
            command = ["dots", *sys.argv[1:]]
            directory = StudyDirectory.create(
                self.name, options, out=self.options.out, command=command
            )
        try:
            status = self._conduct(directory)
        finally:
            directory.close()
        if status:
            raise typer.Exit(status)

    def _check_data(self, options: Options) -> None:
        """Raise UserError for data that cannot be opened; download them before trials race."""
        from dots.data.sources.read import read_source
        from dots.data.sources.table import Columns

        assert self.data is not None
        columns = Columns.of(options.recipe.data)
        read_source(self.data, download=not self.options.no_download, columns=columns)

    def _machine(self) -> Machine:
        from dots.runs.launch import Machine
        from dots.training.processes import find_device

        find_device(self.options.device)  # for its errors
        device = "cuda" if _gpus(self.options.device) else self.options.device
        return Machine(device=device, download=not self.options.no_download)

    def _options(self, **more: Any) -> Options:
        from dots.data.sources.read import remembered
        from dots.recipe import build_recipe
        from dots.study.options import Options

        if self.data is None:
            raise UserError(f"no DATA: say what to use, as in 'dots study {self.name} digits'")
        names = (*more.get("strategies", ()), *self.shortcuts.values())
        for name in names:
            if isinstance(name, str) and is_reference(name):
                raise UserError(
                    f"{name}: the trials of a study run in other processes, which take what is "
                    "installed by name: make a package of it"
                )
        default = () if self.options.recipe else self.default
        overrides = [*o.as_overrides(self.shortcuts), *default, *(self.options.set_ or ())]
        return Options(
            data=remembered(self.data) or self.data,
            recipe=build_recipe(self.options.preset, self.options.recipe, overrides),
            seeds=_seeds(self.seeds),
            table=str(self.options.table.resolve()) if self.options.table else None,
            column=self.options.column,
            machine=self._machine(),
            **more,
        )

    def _opened(self, path: Path) -> StudyDirectory:
        from dots.study.directory import StudyDirectory

        given: dict[str, object] = {
            "DATA": self.data,
            "--preset": self.options.preset,
            "--recipe": self.options.recipe,
            "--set": self.options.set_,
            "--table": self.options.table,
            "--column": self.options.column,
            "--out": self.options.out,
        }
        for name, value in self.shortcuts.items():
            given[f"--{name.split('.')[-1].replace('_', '-')}"] = value
        refused = [name for name, value in given.items() if value]
        if refused:
            raise UserError(
                f"--resume continues with the study's own settings: leave out {', '.join(refused)}"
            )
        directory = StudyDirectory.open(path)
        if directory.name != self.name:
            directory.close()
            raise UserError(
                f"{str(path)!r} is a study '{directory.name}': continue it with "
                f"dots study {directory.name} --resume {path}"
            )
        return directory

    def _executor(self) -> Executor:
        from dots.study.execution.processes import ProcessPool
        from dots.study.execution.ray import RayCluster
        from dots.study.trial import run_trial

        if self.options.ray is None:
            return ProcessPool(run_trial, self.options.workers, _gpus(self.options.device))
        return RayCluster(
            run_trial,
            self.options.ray,
            self.options.workers,
            gpu=self.options.device not in (None, "cpu"),
        )

    def _conduct(self, directory: StudyDirectory) -> int:
        from rich.console import Console

        from dots.study.conduct import Bar, NoBar, conduct
        from dots.study.studies import make_study
        from dots.training.loop import Interrupted, stop_requests

        options = directory.options
        if self.options.resume is not None and (
            self.options.device is not None or self.options.no_download
        ):
            options = options.on(self._machine())
        made = make_study(self.name, options)
        bar = NoBar() if self.options.quiet else Bar(Console(stderr=True))
        if not self.options.quiet:
            print(plain(f"study directory: {directory.path}"), file=sys.stderr)
        executor = self._executor()
        try:
            with stop_requests() as asked:
                rows = conduct(
                    made,
                    directory,
                    executor,
                    retries=self.options.retries,
                    bar=bar,
                    stop_signal=asked,
                )
        except Interrupted as stopped:
            print(
                f"dots: stopped, all is saved; continue with: dots study {self.name} --resume "
                f"{plain(directory.path)}",
                file=sys.stderr,
            )
            return 128 + stopped.signal
        print(plain_lines((directory.path / "table.md").read_text()), end="")
        print(f"\nstudy: {plain(directory.path)}")
        failed = sum(row["error"] is not None for row in rows)
        if failed:
            print(f"dots: {failed} of {len(rows)} rows failed", file=sys.stderr)
        return 1 if rows and failed == len(rows) else 0


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UserError(f"--seeds {text}: give whole numbers, as in 0,1,2") from None
    if any(not 0 <= seed < 2**31 for seed in seeds):
        raise UserError(f"--seeds {text}: seeds are from 0 to {2**31 - 1}")
    return seeds


def _gpus(device: str | None) -> tuple[str, ...]:
    """The numbers in a device such as "0,1"."""
    parts = device.split(",") if device else []
    return tuple(parts) if all(part.strip().isdigit() for part in parts) else ()


study = typer.Typer(
    help="Studies of many searches: tables, figures and captions, resumable.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(study, name="study")


@study.command("plug-in", cls=ListsInstalled)
@grouped
def plug_in(
    data: o.Data = None,
    strategies: Strategies = None,
    seeds: Seeds = "0,1,2",
    *,
    options: StudyOptions,
) -> None:
    """Table 2: each strategy without and with topology search, from the same operation search."""
    from dots.nas.strategies import STRATEGIES

    names = (
        tuple(part.strip() for part in strategies.split(",")) if strategies else tuple(STRATEGIES)
    )
    asked = AskedStudy("plug-in", data, seeds, options, default=("retain=top1",))
    asked.go(strategies=names)


@study.command(cls=ListsInstalled)
@grouped
def rank(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2",
    train_seeds: TrainSeeds = 3,
    *,
    options: StudyOptions,
) -> None:
    """Fig. 1: do the weights of a search rank topologies as their accuracies do?"""
    AskedStudy("rank", data, seeds, options, strategy).go(train_seeds=train_seeds)


@study.command(cls=ListsInstalled)
@grouped
def ablation(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2",
    *,
    options: StudyOptions,
) -> None:
    """Tables 4a and 4b: topology parameterisations, and ways of retaining operations."""
    AskedStudy("ablation", data, seeds, options, strategy).go()


@study.command(cls=ListsInstalled)
@grouped
def repeat(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2,3",
    *,
    options: StudyOptions,
) -> None:
    """Table 1's own row: independent searches; best, and mean ± standard deviation."""
    AskedStudy("repeat", data, seeds, options, strategy).go()


@study.command(cls=ListsInstalled)
@grouped
def random(
    data: o.Data = None,
    strategy: o.Strategy = None,
    seeds: Seeds = "0,1,2",
    random_cells: RandomCells = 10,
    *,
    options: StudyOptions,
) -> None:
    """Search against random cells at equal cost: how often does it win, by how much?"""
    AskedStudy("random", data, seeds, options, strategy).go(random_cells=random_cells)
