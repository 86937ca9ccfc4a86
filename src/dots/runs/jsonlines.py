"""Rows over time as JSON lines that survive any crash."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.common.files import telling_full_disk

Row = Mapping[str, Any]

_MAX_LINE_BYTES = 64 * 2**20


class JsonLines:
    """An append-only file of JSON objects, one a line, each with "stage" and "epoch".

    A crash can tear the last line only; `repair` cuts it off. Rows appended after the last
    `sync` may be lost with the machine's power, not with the process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Row) -> None:
        """Add a row; numbers that are not finite become null, which JSON can hold.

        Raises ValueError for a row without "stage" or "epoch", and UserError where the disk
        is full; the file is then as before.
        """
        if not isinstance(row.get("stage"), str) or type(row.get("epoch")) is not int:
            raise ValueError(f"a row needs a stage (text) and an epoch (whole number): {row}")
        line = json.dumps(_finite(row), allow_nan=False, separators=(", ", ": ")) + "\n"
        with telling_full_disk(self.path), open(self.path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, line.encode())
            except OSError:
                file.truncate(size)
                raise

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows, oldest first; nothing is changed on disk.

        Raises UserError where a line before the last is damaged.
        """
        return [row for row, _ in self._lines()]

    def repair(self) -> None:
        """Cut off a torn last line."""
        ends = [end for _, end in self._lines()]
        self._cut(ends[-1] if ends else 0)

    def rewind(self, stage: str, epoch: int) -> None:
        """Drop the first row of this stage of this epoch or a later one, and all after it.

        What is left is what an uninterrupted run had when it began that epoch, provided that
        rows were appended in the order of the work.
        """
        keep = 0
        for row, end in self._lines():
            if row["stage"] == stage and row["epoch"] >= epoch:
                break
            keep = end
        self._cut(keep)

    def sync(self) -> None:
        """Make sure that all rows are on the disk."""
        if self.path.exists():
            with telling_full_disk(self.path), open(self.path, "ab") as file:
                os.fsync(file.fileno())

    def _lines(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Every whole row with the offset at which its line ends."""
        if not self.path.exists():
            return
        damaged: int | None = None
        end = 0
        with open(self.path, "rb") as file:
            lines = iter(lambda: file.readline(_MAX_LINE_BYTES), b"")
            for number, line in enumerate(lines, start=1):
                end += len(line)
                row = _parsed(line)
                if row is None:
                    damaged = damaged or number
                elif damaged is not None:
                    raise UserError(
                        f"line {damaged} of {str(self.path)!r} is damaged: delete the line"
                    )
                else:
                    yield row, end

    def _cut(self, size: int) -> None:
        if self.path.exists() and self.path.stat().st_size > size:
            with open(self.path, "r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())


def _write_all(file: FileIO, content: bytes) -> None:
    """Without a buffer one call may write a part only."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) or 0 :]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The row in a line, None where it is torn or no row."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and isinstance(row.get("stage"), str)
    return row if whole and type(row.get("epoch")) is int else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
