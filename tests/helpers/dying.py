"""A disk that is recorded, and what a process or machine that dies leaves on it.

`Recorder` notes every step that a piece of code takes on one folder. `aftermaths` gives every
state in which the folder can be found if the process or the machine's power dies before,
between, in or after those steps: with the process dies nothing that was handed to the system;
with the power may go whatever was not flushed, data and names each for itself.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Step:
    """One step: "open" (which empties), "write", "flush", "rename", "unlink", "flush-folder"."""

    kind: str
    name: str = ""
    content: bytes = b""
    to: str = ""


Disk = dict[str, bytes]


class Recorder:
    """Notes the steps on `folder`, and calls `before` ahead of each."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.steps: list[Step] = []
        self._handles: dict[int, str] = {}
        real_open, real_fsync, real_os_open = builtins.open, os.fsync, os.open
        real_replace, real_unlink = os.replace, os.unlink

        def opened(path: Any, mode: str = "r", **options: Any) -> Any:
            file = real_open(path, mode, **options)
            if "w" in mode and self._is_here(path):
                self._handles[file.fileno()] = Path(path).name
                self.steps.append(Step("open", Path(path).name))
                return _Recorded(file, self, Path(path).name)
            return file

        def os_open(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            handle = real_os_open(path, flags, *rest, **options)
            if Path(path) == folder:
                self._handles[handle] = "."
            return handle

        def fsync(handle: int) -> None:
            name = self._handles.get(handle, "")
            if name:
                self.steps.append(Step("flush-folder") if name == "." else Step("flush", name))
            real_fsync(handle)

        def replace(old: Any, new: Any) -> None:
            self.steps.append(Step("rename", Path(old).name, to=Path(new).name))
            real_replace(old, new)

        def unlink(path: Any, **options: Any) -> None:
            real_unlink(path, **options)
            if self._is_here(path):
                self.steps.append(Step("unlink", Path(path).name))

        patch.setattr("dots.common.files.open", opened, raising=False)
        patch.setattr(os, "open", os_open)
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", replace)
        patch.setattr(os, "unlink", unlink)

    def _is_here(self, path: Any) -> bool:
        return Path(path).parent == self.folder


class _Recorded:
    """A file opened for writing that notes what is written."""

    def __init__(self, file: Any, recorder: Recorder, name: str) -> None:
        self._file, self._recorder, self._name = file, recorder, name

    def write(self, content: bytes) -> int:
        self._recorder.steps.append(Step("write", self._name, bytes(content)))
        return int(self._file.write(content))

    def __enter__(self) -> _Recorded:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def content_of(folder: Path) -> Disk:
    """The files of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def restore(folder: Path, disk: Disk) -> None:
    """Make the folder hold exactly these files."""
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for name, content in disk.items():
        (folder / name).write_bytes(content)


def aftermaths(before: Disk, steps: list[Step]) -> Iterator[tuple[str, Disk]]:
    """Every state that can be found, with a word on how it came about."""
    for count in range(len(steps) + 1):
        done = steps[:count]
        yield f"killed after {count} steps", _played(before, done, torn=None)
        if count < len(steps) and steps[count].kind == "write":
            for part in _parts(steps[count].content):
                torn = Step("write", steps[count].name, part)
                yield f"killed in write {count}", _played(before, [*done, torn], torn=None)
        for named in range(_names_on_disk(done), len(done) + 1):
            for torn_to in (0.0, 0.5, 1.0):
                disk = _played(before, done, torn=torn_to, named=named)
                yield f"power cut after {count}, names as after {named}, data {torn_to}", disk


def _parts(content: bytes) -> list[bytes]:
    return [content[:size] for size in {0, 1, len(content) // 2, len(content) - 1}]


def _names_on_disk(done: list[Step]) -> int:
    """How many steps' renames and deletions are certainly on the disk."""
    flushed = [index for index, step in enumerate(done) if step.kind == "flush-folder"]
    return flushed[-1] if flushed else 0


def _played(before: Disk, steps: list[Step], torn: float | None, named: int | None = None) -> Disk:
    """The disk after `steps`; only the first `named` had their names brought to the disk.

    With `torn`, that share is left of what was written to a file and not flushed.
    """
    inodes = {f"old {name}": content for name, content in before.items()}
    names = {name: f"old {name}" for name in before}
    known = dict(names)  # where a handle points, whatever has its name on the disk
    flushed = {(index, step.name) for index, step in enumerate(steps) if step.kind == "flush"}
    for index, step in enumerate(steps):
        on_disk = named is None or index < named
        if step.kind == "open":
            known[step.name] = f"new {step.name} {index}"
            inodes[known[step.name]] = b""
            if on_disk:
                names[step.name] = known[step.name]
        elif step.kind == "write":
            safe = torn is None or any(i > index and n == step.name for i, n in flushed)
            size = len(step.content) if safe else int(len(step.content) * (torn or 0.0))
            inodes[known[step.name]] += step.content[:size]
        elif step.kind == "rename":
            known[step.to] = known.pop(step.name)
            if on_disk and step.name in names:
                names[step.to] = names.pop(step.name)
        elif step.kind == "unlink" and on_disk:
            names.pop(step.name, None)
    return {name: inodes[inode] for name, inode in names.items()}
