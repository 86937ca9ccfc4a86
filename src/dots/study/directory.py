"""A study's directory: its plan, a folder for each trial, and what was made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dots.common.errors import UserError, shown
from dots.common.files import read_json, write_json, write_text
from dots.common.records import ENVIRONMENT
from dots.runs.directory import check_free, numbered
from dots.runs.environment import collect
from dots.runs.lock import Lock
from dots.study.execution.attempts import Record
from dots.study.options import Options
from dots.study.trial import Trial

VERSION = 1
PLAN = "plan.json"
STUDY = "study.json"
TABLE = "table.md"
FIGURES = ("figure.svg", "figure.png")
RECORD = "trial.json"


class StudyDirectory:
    """A study on disk, locked from `create` or `open` to `close`."""

    def __init__(self, path: Path, name: str, options: Options, lock: Lock) -> None:
        self.path = path
        self.name = name
        self.options = options
        self._lock = lock

    @classmethod
    def create(
        cls,
        name: str,
        options: Options,
        *,
        out: Path | None = None,
        root: Path = Path("runs"),
        command: Sequence[str] | None = None,
    ) -> StudyDirectory:
        """Begin a study in `out`, or in the next free `root`/study-NAME-N, and lock it.

        Raises UserError where `out` is no empty directory or cannot be written.
        """
        if out is not None:
            check_free(out)
        try:
            path = out or numbered(root, f"study-{name}")
            path.mkdir(parents=True, exist_ok=True)
            lock = Lock(path / "lock")
            lock.acquire()
        except OSError as error:
            where = str(out or root)
            raise UserError(f"cannot begin a study in {where!r}: {error}") from None
        write_json(path / ENVIRONMENT, collect(command))
        plan = {"version": VERSION, "study": name, "options": options.to_json()}
        write_json(path / PLAN, plan)
        return cls(path, name, options, lock)

    @classmethod
    def open(cls, path: Path) -> StudyDirectory:
        """Lock the study at `path` to continue it.

        Raises UserError where there is none, it is damaged, or another process has it.
        """
        name, options = read_plan(path)
        lock = Lock(path / "lock")
        lock.acquire()
        return cls(path, name, options, lock)

    def folder(self, trial: Trial) -> Path:
        """Where a trial works."""
        return self.path / "trials" / trial.name

    def records(self) -> dict[str, Record]:
        """What trials have ended with, by name; those without an end are absent."""
        found = {}
        for path in sorted((self.path / "trials").glob(f"*/{RECORD}")):
            value = read_json(path, what="the record of a trial")
            try:
                found[path.parent.name] = Record(**value)
            except TypeError:
                raise UserError(f"{str(path)!r} is damaged: delete it, then resume") from None
        return found

    def keep(self, trial: Trial, record: Record) -> None:
        """Write down what a trial ended with."""
        folder = self.folder(trial)
        folder.mkdir(parents=True, exist_ok=True)  # under Ray it may have run elsewhere
        write_json(folder / RECORD, asdict(record))

    def write(self, content: dict[str, Any], markdown: str) -> None:
        """Write study.json and the table."""
        write_json(self.path / STUDY, content)
        write_text(self.path / TABLE, markdown)

    def close(self) -> None:
        """Give the lock up."""
        self._lock.release()


def read_plan(path: Path) -> tuple[str, Options]:
    """The name and the options of the study at `path`. Raises UserError where there is none."""
    if not (path / PLAN).is_file():
        raise UserError(f"no study {str(path)!r}: expected a study directory, with {PLAN}, there")
    value = read_json(path / PLAN, what="the plan of a study")
    if not isinstance(value, dict) or value.get("version") != VERSION:
        version = shown(value.get("version")) if isinstance(value, dict) else "none"
        raise UserError(f"{str(path / PLAN)!r} is of version {version}: expected {VERSION}")
    name, options = value.get("study"), value.get("options")
    if not isinstance(name, str) or not isinstance(options, dict):
        raise UserError(f"{str(path / PLAN)!r} is damaged: start a new study")
    return name, Options.from_json(options)
