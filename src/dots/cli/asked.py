"""A job as the command line asks for it: checked, begun or continued, and its outcome printed."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dots.cli import options as o
from dots.cli.networks import named_network
from dots.errors import UserError

if TYPE_CHECKING:
    from dots.genotype import Genotype
    from dots.jobs import Job, Machine, Watcher
    from dots.recipe import Recipe


class Asked:
    """A job as the command line asks for it."""

    def __init__(
        self,
        kind: str,
        data: str | None,
        resume: Path | None,
        dry_run: bool,
        quiet: bool,
        out: Path | None,
    ) -> None:
        self.kind, self.data, self.resume, self.dry_run = kind, data, resume, dry_run
        self.quiet, self.out = quiet, out
        self.machine: Machine | None = None
        self.preset: str | None = None
        self.file: Path | None = None
        self.overrides: list[str] | None = None
        self.shortcuts: dict[str, Any] = {}
        self.candidates: Path | None = None
        self.table: Path | None = None
        self.genotype: Genotype | None = None
        self.limits: tuple[str | None, str | None] = (None, None)
        self.extend: int | None = None
        self.positional: dict[str, object] = {}
        self.reference: str | None = None
        self.skeleton: str = "darts"
        self.weights: str | None = None

    def trainee(self, text: str | None, own_skeleton: bool) -> None:
        """What is to be trained. Raises UserError where there is no such thing."""
        if text is None:
            raise UserError(
                "nothing to train: give a genotype file, a run, a name of the zoo or a reference "
                "network"
            )
        named = named_network(text, own_skeleton)
        self.reference, self.genotype = named.reference, named.genotype
        self.skeleton = named.skeleton

    def tuned(self, run: str | None, own_skeleton: bool) -> dict[str, object]:
        """Go on from the weights of a run's network; the settings of its size."""
        from dots.finetune import settings, source

        if run is None or own_skeleton:
            raise UserError("--from-weights goes on from a run's network: name the run alone")
        trainee = source(Path(run))
        self.genotype, self.skeleton = trainee.genotype, trainee.skeleton
        self.weights = str(Path(run).resolve())
        return settings(trainee)

    def go(self) -> None:
        """Begin or continue the job; leave with its exit status."""
        status = self._status()
        if status:
            raise typer.Exit(status)

    def _status(self) -> int:
        if self.resume is not None:
            return self._continue(self.resume)
        if self.extend is not None:
            raise UserError(
                "--extend adds epochs to a run that is there: say which by --resume DIR"
            )
        if self.data is None:
            raise UserError(f"no DATA: say what to use, as in 'dots {self.kind} digits'")
        recipe = o.make_recipe(
            preset=self.preset,
            file=self.file,
            overrides=self.overrides,
            shortcuts=self.shortcuts,
        )
        folder = (
            tempfile.TemporaryDirectory()
            if self.dry_run and self.out is None
            else nullcontext(None)
        )
        with folder as temporary:
            return self._begin(recipe, Path(temporary) / "dry" if temporary else self.out)

    def _begin(self, recipe: Recipe, out: Path | None) -> int:
        from dots.data.naming import remembered
        from dots.jobs import Job, begin, dry_recipe

        assert self.data is not None
        assert self.machine is not None
        candidates = str(self.candidates.resolve()) if self.candidates else None
        table = str(self.table.resolve()) if self.table else None
        job = Job(
            self.kind,
            remembered(self.data),
            candidates,
            table,
            reference=self.reference,
            skeleton=self.skeleton,
            weights=self.weights,
        )
        watcher = o.make_watcher(self.quiet)
        recipe = dry_recipe(recipe) if self.dry_run else recipe
        steps = 1 if self.dry_run else None
        with begin(
            self.data,
            recipe,
            job,
            machine=self.machine,
            watcher=watcher,
            out=out,
            name=Path(self.data).name or None,
            command=["dots", *sys.argv[1:]],
            genotype=self.genotype,
            max_steps=steps,
            limits=o.make_limits(*self.limits),
        ) as session:
            return self._finish(session, job, watcher)

    def _continue(self, path: Path) -> int:
        from dots.jobs import resume

        self._refuse_new_settings()
        assert self.machine is not None
        watcher = o.make_watcher(self.quiet)
        if self.extend is not None and self.extend < 1:
            raise UserError(f"--extend {self.extend}: give a number of epochs from 1 up")
        more = self.extend or 0
        with resume(path, machine=self.machine, watcher=watcher, data=self.data, extend=more) as (
            session,
            job,
        ):
            return self._finish(session, job, watcher)

    def _refuse_new_settings(self) -> None:
        """A resumed run has its own settings; none that is given here may be ignored silently."""
        given = [
            f"--{name.split('.')[-1].replace('_', '-').replace('max-parameters', 'max-params')}"
            for name, value in self.shortcuts.items()
            if value is not None
        ]
        others = {
            "--latency-table": self.machine.latency_table if self.machine else None,
            **self.positional,
            "--time-limit": self.limits[0],
            "--max-memory": self.limits[1],
            "--dry-run": self.dry_run or None,
            "--preset": self.preset,
            "--recipe": self.file,
            "--set": self.overrides,
            "--out": self.out,
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
        from dots.jobs import execute
        from dots.loop import Interrupted

        try:
            result = execute(session, job)
        except Interrupted as stopped:
            if session.main:
                print(
                    f"dots: stopped, all is saved; continue with: dots run --resume "
                    f"{session.run.path}",
                    file=sys.stderr,
                )
            return 128 + stopped.signal if session.main else 0
        if session.main:
            print_outcome(session, result, dry=self.dry_run)
        return 0
