"""The run directory: the contract between the stages, and what reports and resumes read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dots.common.errors import UserError
from dots.common.files import read_json, write_bytes, write_json, write_text
from dots.common.records import (
    ARCHITECTURE,
    DATA,
    ENVIRONMENT,
    GENOTYPE,
    HALVES,
    JOB,
    LATENCY,
    LOCK,
    MACHINE,
    NOTICES,
    PLAN,
    RECIPE,
    SPLITS,
    Record,
)
from dots.recipe import Recipe, recipe_from_json
from dots.runs import environment
from dots.runs.jsonlines import JsonLines
from dots.runs.lock import Lock
from dots.runs.metrics import Metrics

if TYPE_CHECKING:
    from dots.runs.checkpoints import Checkpoints

_PART = f".{RECIPE}.part"
BEGUN = (
    ENVIRONMENT,
    JOB,
    DATA,
    SPLITS,
    MACHINE,
    PLAN,
    GENOTYPE,
    LATENCY,
    HALVES,
)
"""What a beginning writes before the recipe."""


class RunDirectory:
    """One run on disk, at `path`.

    `create` begins a run and `open` continues one: both lock the directory until `close`, or
    the end of a `with` block. `read` looks at one without a lock, also while it runs; `follow`
    is for the processes beside the one that writes: there nothing is written.
    """

    def __init__(self, path: Path, recipe: Recipe, lock: Lock | None, *, follows: bool = False):
        self.path = path
        self.recipe = recipe
        self._lock = lock
        self._follows = follows
        self.metrics = Metrics(path)
        self.architecture = JsonLines(path / ARCHITECTURE)

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        *,
        out: Path | None = None,
        name: str = "run",
        root: Path = Path("runs"),
        command: Sequence[str] | None = None,
        files: Mapping[str, bytes] | None = None,
        plugins: Mapping[str, Any] | None = None,
    ) -> RunDirectory:
        """Begin a run in `out`, or in the next free `root`/NAME-N, and lock it.

        Writes `files` (by name), environment.json (`command` and `plugins` as in
        `runs.environment`) and, last, recipe.json, which makes the directory a run: one that is
        there can be continued, and in one that is not quite there a run can begin again. Raises
        UserError where `out` is no empty directory, holds a run, or cannot be written.
        """
        try:
            path = numbered(root, name) if out is None else _empty(out)
            lock = Lock(path / LOCK)
            lock.acquire()
        except (OSError, ValueError) as error:
            where = str(root if out is None else out)
            raise UserError(f"cannot begin a run in {where!r}: {error}") from None
        try:
            _check_empty(path)  # again: another process may have been faster to the lock
            for name, content in (files or {}).items():
                write_bytes(path / name, content)
            write_json(path / ENVIRONMENT, environment.collect(command, plugins))
            write_json(path / RECIPE, recipe.to_json())
        except BaseException:
            lock.release()
            raise
        return cls(path, recipe, lock)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Lock the run at `path` to continue it, and mend what a crash tore.

        Raises UserError where there is no run or another process has it.
        """
        recipe = _recipe(path)
        lock = Lock(path / LOCK)
        try:
            lock.acquire()
        except OSError as error:
            raise UserError(f"cannot continue the run {str(path)!r}: {error}") from None
        run = cls(path, recipe, lock)
        try:
            run._mend()
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def read(cls, path: Path) -> RunDirectory:
        """The run at `path`, to look at. Raises UserError where there is no run."""
        return cls(path, _recipe(path), None)

    @classmethod
    def follow(cls, path: Path) -> RunDirectory:
        """The run at `path`, which another process has. Raises UserError where there is no run."""
        return cls(path, _recipe(path), None, follows=True)

    @property
    def writes(self) -> bool:
        """Whether this process writes. Raises RuntimeError where the run is only to be read."""
        if self._follows:
            return False
        if self._lock is None or not self._lock.held:
            raise RuntimeError(f"the run {self.path} was opened to be read, or is closed")
        return True

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints; before each is written, the rows are brought to disk."""
        from dots.runs.checkpoints import Checkpoints  # PyTorch, which a report does not need

        return Checkpoints(self.path / "checkpoints", before_write=self.sync)

    def has(self, name: str) -> bool:
        """Whether the run holds a file `name`."""
        return (self.path / name).is_file()

    def write_json(self, name: str, value: Any) -> None:
        """Write the file `name` atomically. Raises ValueError for NaN and infinities."""
        if self.writes:
            write_json(self.path / name, value)

    def write_record(self, record: Record) -> None:
        """Write the record's file atomically."""
        self.write_json(record.file, record.to_json())

    def write_text(self, name: str, text: str) -> None:
        """Write the file `name` atomically."""
        if self.writes:
            write_text(self.path / name, text)

    def read_json(self, name: str) -> Any:
        """The content of the file `name`. Raises UserError where it is missing or damaged."""
        return read_json(self.path / name, what=f"the {name} of a run")

    def read_object(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name`. Raises UserError as read_json, and for no object."""
        value = self.read_json(name)
        if not isinstance(value, dict):
            raise UserError(f"{str(self.path / name)!r} is damaged: expected the {name} of a run")
        return value

    def rewind(self, stage: str, epoch: int) -> None:
        """Forget all rows from this epoch of this stage on: it is about to be run (again)."""
        if self.writes:
            self.metrics.rewind(stage, epoch)
            self.architecture.rewind(stage, epoch)

    def sync(self) -> None:
        """Bring all rows to disk, and metrics.csv and TensorBoard up to date."""
        if self.writes:
            self.metrics.sync()
            self.architecture.sync()

    def replace_recipe(self, recipe: Recipe) -> None:
        """Continue with other settings than the run began with."""
        self.write_json(RECIPE, recipe.to_json())
        self.recipe = recipe

    def notice(self, line: str) -> None:
        """Add a line to what result.json and the report tell about the run."""
        said = self.notices()
        if line not in said:
            self.write_json(NOTICES, [*said, line])

    def notices(self) -> list[str]:
        """The lines so far."""
        said = self.read_json(NOTICES) if self.has(NOTICES) else []
        return [str(line) for line in said] if isinstance(said, list) else []

    def environment_differences(self) -> tuple[str, ...]:
        """What differs between where the run began and here, in words; see `runs.environment`."""
        return environment.differences(self.read_object(ENVIRONMENT), environment.collect())

    def close(self) -> None:
        """Finish all files and give the lock up; a second call does nothing."""
        if self._lock is not None and self._lock.held:
            self.metrics.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _mend(self) -> None:
        self.metrics.repair()
        self.architecture.repair()
        for folder in (self.path, self.path / "checkpoints"):
            for part in folder.glob(".*.part"):
                part.unlink(missing_ok=True)
        if not self.has(ENVIRONMENT):  # it died while it began
            self.write_json(ENVIRONMENT, environment.collect())


def numbered(root: Path, name: str) -> Path:
    """Make the directory root/NAME-N for the first N above all there are."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64] or "run"
    root.mkdir(parents=True, exist_ok=True)
    while True:
        taken = [
            int(match[1])
            for entry in root.iterdir()
            if (match := re.fullmatch(rf"{re.escape(kept)}-(\d{{1,9}})", entry.name))
        ]
        path = root / f"{kept}-{max(taken, default=0) + 1}"
        try:
            path.mkdir()
        except FileExistsError:  # another process took it
            continue
        return path


def _empty(out: Path) -> Path:
    check_free(out)
    out.mkdir(parents=True, exist_ok=True)
    _check_empty(out)
    return out


def check_free(out: Path) -> None:
    """Raise UserError where no run can begin in `out`: a file, a run, a directory in use."""
    if out.is_dir():
        _check_empty(out)
    elif out.exists():
        raise UserError(f"{str(out)!r} is no directory: choose another for the run")


def _check_empty(path: Path) -> None:
    """What a beginning left that did not get as far as a recipe does not count."""
    if (path / RECIPE).exists():
        raise UserError(
            f"{str(path)!r} holds a run already: choose another directory, "
            "or continue that run with --resume"
        )
    names = {entry.name for entry in path.iterdir()}
    begun = {f".{name}.part" for name in BEGUN} | set(BEGUN) if LOCK in names else set()
    if names - begun - {LOCK, _PART}:
        raise UserError(f"{str(path)!r} is not empty: choose another directory for the run")


def _recipe(path: Path) -> Recipe:
    if not path.exists():
        raise UserError(f"no run {str(path)!r}: expected a run directory there")
    if not path.is_dir():
        raise UserError(f"{str(path)!r} is a file: expected a run directory")
    if not (path / RECIPE).is_file():
        within = sorted(file.parent.name for file in path.glob(f"*/{RECIPE}"))
        hint = f", but these in it are: {', '.join(within[:5])}" if within else ""
        raise UserError(f"{str(path)!r} is no run directory: it has no {RECIPE}{hint}")
    value = read_json(path / RECIPE, what="the recipe of a run")
    try:
        return recipe_from_json(value, where=repr(str(path / RECIPE)))
    except UserError:
        missing = sorted(environment.missing_plugins(path), key=lambda line: "space" not in line)
        if not missing:
            raise
        raise UserError(missing[0]) from None  # it says more than an unknown name
