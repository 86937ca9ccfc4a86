"""A study as the command line asks for it: begun or continued, conducted, printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dots.cli import options as o
from dots.errors import UserError

if TYPE_CHECKING:
    from dots.jobs import Machine
    from dots.study.attempts import Executor
    from dots.study.directory import StudyDirectory
    from dots.study.options import Options


@dataclass(frozen=True)
class AskedStudy:
    """What is common to all studies on the command line."""

    name: str
    data: str | None
    preset: str | None
    recipe: Path | None
    set_: list[str] | None
    shortcuts: dict[str, Any]
    seeds: str
    table: Path | None
    column: str | None
    workers: int
    ray: str | None
    retries: int
    device: str | None
    no_download: bool
    out: Path | None
    resume: Path | None
    quiet: bool
    default: tuple[str, ...] = ()
    """Settings that the study changes in a preset, where no recipe file speaks."""

    def go(self, **more: Any) -> None:
        """Begin or continue the study; leave with its exit status."""
        from dots.study.directory import StudyDirectory
        from dots.study.studies import make_study

        if self.workers < 1 or self.retries < 0:
            raise UserError("--workers must be at least 1, --retries at least 0")
        if self.resume is not None:
            directory = self._opened(self.resume)
        else:
            options = self._options(**more)
            make_study(self.name, options)
            self._check_data()
            command = ["dots", *sys.argv[1:]]
            directory = StudyDirectory.create(self.name, options, out=self.out, command=command)
        try:
            status = self._conduct(directory)
        finally:
            directory.close()
        if status:
            raise typer.Exit(status)

    def _check_data(self) -> None:
        """Raise UserError for data that cannot be opened; download them before trials race."""
        from dots.data.sources import read_source

        assert self.data is not None
        read_source(self.data, download=not self.no_download)

    def _machine(self) -> Machine:
        from dots.devices import make_fabric
        from dots.jobs import Machine

        make_fabric(self.device)  # for its errors
        device = "cuda" if _gpus(self.device) else self.device
        return Machine(device=device, download=not self.no_download)

    def _options(self, **more: Any) -> Options:
        from dots.data.naming import remembered
        from dots.recipe import build_recipe
        from dots.study.options import Options

        if self.data is None:
            raise UserError(f"no DATA: say what to use, as in 'dots study {self.name} digits'")
        default = () if self.recipe else self.default
        overrides = [*o.as_overrides(self.shortcuts), *default, *(self.set_ or ())]
        return Options(
            data=remembered(self.data) or self.data,
            recipe=build_recipe(self.preset, self.recipe, overrides),
            seeds=_seeds(self.seeds),
            table=str(self.table.resolve()) if self.table else None,
            column=self.column,
            machine=self._machine(),
            **more,
        )

    def _opened(self, path: Path) -> StudyDirectory:
        from dots.study.directory import StudyDirectory

        given: dict[str, object] = {
            "DATA": self.data,
            "--preset": self.preset,
            "--recipe": self.recipe,
            "--set": self.set_,
            "--table": self.table,
            "--column": self.column,
            "--out": self.out,
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
        from dots.study.cluster import RayCluster
        from dots.study.processes import ProcessPool
        from dots.study.trial import run_trial

        if self.ray is None:
            return ProcessPool(run_trial, self.workers, _gpus(self.device))
        return RayCluster(run_trial, self.ray, self.workers, gpu=self.device not in (None, "cpu"))

    def _conduct(self, directory: StudyDirectory) -> int:
        from rich.console import Console

        from dots.loop import Interrupted
        from dots.signals import stop_requests
        from dots.study.conduct import conduct
        from dots.study.progress import Bar, NoBar
        from dots.study.studies import make_study

        options = directory.options
        if self.resume is not None and (self.device is not None or self.no_download):
            options = options.on(self._machine())
        made = make_study(self.name, options)
        bar = NoBar() if self.quiet else Bar(Console(stderr=True))
        if not self.quiet:
            print(f"study directory: {directory.path}", file=sys.stderr)
        executor = self._executor()
        try:
            with stop_requests() as asked:
                rows = conduct(
                    made, directory, executor, retries=self.retries, bar=bar, stop_signal=asked
                )
        except Interrupted as stopped:
            print(
                f"dots: stopped, all is saved; continue with: dots study {self.name} --resume "
                f"{directory.path}",
                file=sys.stderr,
            )
            return 128 + stopped.signal
        print((directory.path / "table.md").read_text(), end="")
        print(f"\nstudy: {directory.path}")
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
