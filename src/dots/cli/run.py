"""dots run, dots search, dots train: the jobs that make or continue a run directory."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dots.cli import options as o
from dots.cli.grouped import ListsInstalled, grouped
from dots.cli.networks import named_network
from dots.common.errors import UserError
from dots.common.plugins import NOTHING, Given, is_reference
from dots.common.text import plain

if TYPE_CHECKING:
    from dots.recipe import Recipe
    from dots.runs.launch import Job, Machine, Watcher
    from dots.space.genotype import Genotype


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


@dataclass(frozen=True)
class RunOptions:
    """The options of every job that makes or continues a run directory."""

    labels: o.Labels = None
    images: o.Images = None
    preset: o.Preset = None
    seed: o.Seed = None
    out: o.Out = None
    device: o.Device = None
    devices: o.Devices = 1
    workers: o.Workers = 0
    batch: o.Batch = None
    image_size: o.ImageSize = None
    set_: o.Set = None
    recipe: o.RecipeFile = None
    time_limit: o.TimeLimit = None
    max_memory: o.MaxMemory = None
    low_memory: o.LowMemory = False
    precision: o.Precision = None
    compile_: o.Compile = False
    resume: o.Resume = None
    skip_corrupt: o.SkipCorrupt = False
    no_download: o.NoDownload = False
    logger: o.Logger = None
    dry_run: o.DryRun = False
    quiet: o.Quiet = False
    debug: o.Debug = False

    def machine(self, latency_table: Path | None) -> Machine:
        """Where the job runs. Raises UserError for numbers that cannot be."""
        return o.make_machine(
            self.device,
            self.devices,
            self.workers,
            skip_corrupt=self.skip_corrupt,
            no_download=self.no_download,
            latency_table=latency_table,
            loggers=self.logger,
        )

    def settings(self) -> dict[str, Any]:
        """The options that are settings of the recipe."""
        return {
            "seed": self.seed,
            "batch": self.batch,
            "low_memory": "true" if self.low_memory else None,
            "precision": self.precision,
            "compile": "true" if self.compile_ else None,
            "data.image_size": self.image_size,
            "data.images": o.folder_of(self.images),
        }


@dataclass(frozen=True)
class SearchOptions:
    """The options of the jobs that search."""

    strategy: o.Strategy = None
    space: o.Space = None
    select: o.Select = None
    table: Table = None
    max_params: o.MaxParameters = None
    max_multiply_adds: o.MaxMultiplyAdds = None
    latency_target: o.LatencyTarget = None
    latency_table: o.LatencyTable = None

    def settings(self, given: Given) -> dict[str, Any]:
        """The options that are settings of the recipe; `given`: what is the user's own."""
        return {
            "strategy": given.strategy.name if given.strategy else self.strategy,
            "space": given.space.name if given.space else self.space,
            "select": self.select,
            "budget.max_parameters": self.max_params,
            "budget.max_multiply_adds": self.max_multiply_adds,
            "budget.latency_target": self.latency_target,
        }


class Asked:
    """A job as the command line asks for it."""

    def __init__(
        self,
        kind: str,
        data: str | None,
        options: RunOptions,
        search: SearchOptions | None = None,
        given: Given = NOTHING,
    ) -> None:
        self.kind, self.options, self.given = kind, options, given
        self.data = o.data_of(data, options.labels)
        self.table = search.table if search else None
        self.machine = options.machine(search.latency_table if search else None)
        self.shortcuts = options.settings()
        self.candidates: Path | None = None
        self.genotype: Genotype | None = None
        self.extend: int | None = None
        self.positional: dict[str, object] = {}
        self.reference: str | None = None
        self.skeleton: str = "darts"
        self.weights: str | None = None
        if search is not None:
            self.given = o.hand_over(search.strategy, search.space)
            self.shortcuts |= search.settings(self.given)

    def network_spec(self, text: str | None, own_skeleton: bool) -> None:
        """What is to be trained. Raises UserError where there is no such thing."""
        if text is None:
            raise UserError(
                "nothing to train: give a genotype file, a run, a name of the zoo or a reference "
                "network"
            )
        named = named_network(text, own_skeleton, self.given.space)
        self.reference, self.genotype = named.reference, named.genotype
        self.skeleton = named.skeleton

    def tuned(self, run: str | None, own_skeleton: bool) -> dict[str, object]:
        """Go on from the weights of a run's network; the settings of its size."""
        from dots.runs.further_training import settings, source
        from dots.space.search_space import given_space

        if run is None or own_skeleton:
            raise UserError("--from-weights goes on from a run's network: name the run alone")
        network_spec = source(Path(run), given_space(self.given.space))
        self.genotype, self.skeleton = network_spec.genotype, network_spec.skeleton
        self.weights = str(Path(run).resolve())
        return settings(network_spec)

    def go(self) -> None:
        """Begin or continue the job; leave with its exit status."""
        status = self._status()
        if status:
            raise typer.Exit(status)

    def _status(self) -> int:
        if self.options.resume is not None:
            return self._continue(self.options.resume)
        if self.extend is not None:
            raise UserError(
                "--extend adds epochs to a run that is there: say which by --resume DIR"
            )
        if self.data is None:
            raise UserError(f"no DATA: say what to use, as in 'dots {self.kind} digits'")
        recipe = o.make_recipe(
            preset=self.options.preset,
            file=self.options.recipe,
            overrides=self.options.set_,
            shortcuts=self.shortcuts,
            given=self.given,
        )
        folder = (
            tempfile.TemporaryDirectory()
            if self.options.dry_run and self.options.out is None
            else nullcontext(None)
        )
        with folder as temporary:
            return self._begin(recipe, Path(temporary) / "dry" if temporary else self.options.out)

    def _begin(self, recipe: Recipe, out: Path | None) -> int:
        from dots.data.sources.read import remembered
        from dots.runs.launch import Job, begin, dry_recipe

        assert self.data is not None
        data = o.data(self.data)
        candidates = str(self.candidates.resolve()) if self.candidates else None
        table = str(self.table.resolve()) if self.table else None
        job = Job(
            self.kind,
            remembered(data),
            candidates,
            table,
            reference=self.reference,
            skeleton=self.skeleton,
            weights=self.weights,
        )
        watcher = o.make_watcher(self.options.quiet)
        recipe = dry_recipe(recipe) if self.options.dry_run else recipe
        steps = 1 if self.options.dry_run else None
        with begin(
            data,
            recipe,
            job,
            machine=self.machine,
            watcher=watcher,
            out=out,
            name=Path(self.data).name or None,
            command=["dots", *sys.argv[1:]],
            genotype=self.genotype,
            max_steps=steps,
            limits=o.make_limits(self.options.time_limit, self.options.max_memory),
            given=self.given,
        ) as session:
            return self._finish(session, job, watcher)

    def _continue(self, path: Path) -> int:
        from dots.runs.launch import resume

        self._refuse_new_settings()
        watcher = o.make_watcher(self.options.quiet)
        if self.extend is not None and self.extend < 1:
            raise UserError(f"--extend {self.extend}: give a number of epochs from 1 up")
        more = self.extend or 0
        with resume(
            path,
            machine=self.machine,
            watcher=watcher,
            data=None if self.data is None else o.data(self.data),
            extend=more,
            given=self.given,
        ) as (session, job):
            return self._finish(session, job, watcher)

    def _refuse_new_settings(self) -> None:
        """A resumed run has its own settings; none that is given here may be ignored silently."""
        given = [
            f"--{name.split('.')[-1].replace('_', '-').replace('max-parameters', 'max-params')}"
            for name, value in self.shortcuts.items()
            if value is not None
            and not (name in ("strategy", "space") and is_reference(value))  # named again
        ]
        others = {
            "--latency-table": self.machine.latency_table,
            **self.positional,
            "--time-limit": self.options.time_limit,
            "--max-memory": self.options.max_memory,
            "--dry-run": self.options.dry_run or None,
            "--preset": self.options.preset,
            "--recipe": self.options.recipe,
            "--set": self.options.set_,
            "--out": self.options.out,
            "--candidates": self.candidates,
            "--table": self.table,
        }
        given += [name for name, value in others.items() if value is not None]
        if given:
            raise UserError(
                f"--resume continues with the run's own settings: leave out {', '.join(given)}, "
                "or start a new run"
            )

    def _finish(self, session: Any, job: Job, watcher: Watcher) -> int:
        from dots.cli.outcome import print_outcome
        from dots.runs.launch import execute
        from dots.training.loop import Interrupted

        try:
            result = execute(session, job)
        except Interrupted as stopped:
            if session.processes.main:
                print(
                    "dots: stopped, all is saved; continue with: dots run --resume "
                    f"{plain(session.run.path)}",
                    file=sys.stderr,
                )
            return 128 + stopped.signal if session.processes.main else 0
        if session.processes.main:
            print_outcome(session, result, dry=self.options.dry_run)
        return 0


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(cls=ListsInstalled)(run)
    app.command(cls=ListsInstalled)(search)
    app.command()(train)


@grouped
def run(
    data: o.Data = None,
    *,
    options: RunOptions,
    searching: SearchOptions,
    baselines: Baselines = False,
    extend: o.Extend = None,
) -> None:
    """Search a cell for DATA, train its network, test it, and write a report."""
    asked = Asked("run", data, options, searching)
    asked.extend = extend
    asked.shortcuts["baselines"] = "random,darts-policy" if baselines else None
    asked.go()


@grouped
def search(
    data: o.Data = None,
    candidates: CandidatesFile = None,
    until: Until = None,
    *,
    options: RunOptions,
    searching: SearchOptions,
) -> None:
    """Search a cell for DATA: operations, then topology. The result is genotype.json."""
    if until not in (None, "operations"):
        raise UserError(f"--until {until}: the only place to stop early is 'operations'")
    if until and candidates:
        raise UserError("--until operations and --candidates exclude each other")
    asked = Asked("operations" if until else "search", data, options, searching)
    asked.candidates = candidates
    asked.positional = {"--until": until}
    asked.go()


def _space_name(asked: Asked) -> str | None:
    """What a recipe calls the space of the cell that is trained; on --resume the one given."""
    given, cell = asked.given.space, asked.genotype
    if given is not None and (cell is None or cell.space == getattr(given.value, "name", None)):
        return given.name
    return cell.space if cell is not None else None


@grouped
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
    space: o.OwnSpace = None,
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
    extend: o.Extend = None,
    *,
    options: RunOptions,
) -> None:
    """Train the network of GENOTYPE on DATA, from scratch unless told otherwise, and test it."""
    asked = Asked("train", data, options, given=Given(space=o.own(space)))
    asked.extend = extend
    sized: dict[str, object] = {}
    if options.resume is None:
        if from_weights:
            sized = asked.tuned(genotype, own_skeleton)
        else:
            asked.network_spec(genotype, own_skeleton)
    asked.positional = {
        "GENOTYPE": genotype,
        "--own-skeleton": own_skeleton or None,
        "--from-weights": from_weights or None,
    }
    asked.shortcuts |= {
        "space": _space_name(asked),
        "baselines": "random" if baselines else None if options.resume else "[]",
        **sized,
    }
    asked.go()
