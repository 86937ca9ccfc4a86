"""Atomic writes and guarded reads: every file of the library goes through here."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dots.common.errors import UserError

MAX_JSON_BYTES = 64 * 2**20


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that a crash leaves the old file or the new one, never a part.

    The bytes go to a neighbour, are flushed to disk, and take the name by a rename; the
    folder is flushed too, so that the rename itself survives. Raises UserError where the disk
    is full, and OSError where the system refuses otherwise; the old file is whole in both.
    """
    part = path.with_name(f".{path.name}.part")
    with telling_full_disk(path):
        try:
            with open(part, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()  # a full disk needs the room
            raise
        _flush_folder(path.parent)


@contextlib.contextmanager
def telling_full_disk(path: Path) -> Iterator[None]:
    """Turn the OSError of a full disk into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no room left on the disk for {str(path)!r}: free some, then resume"
            ) from None
        raise


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinities raise ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """Return the JSON value in the file at `path`; `what` says in errors what it should hold.

    Raises UserError where the file is missing, is no regular file, is over 64 MiB, is not
    UTF-8, is not JSON, or is nested too deeply to parse.
    """
    return parse_json(read_text(path, what=what), what=what, where=repr(str(path)))


def read_text(path: Path, *, what: str, limit: int = MAX_JSON_BYTES) -> str:
    """Return the UTF-8 text of the file at `path`; `what` says in errors what it should hold.

    Raises UserError where the file is missing, is no regular file, has more than `limit`
    bytes, or is not UTF-8.
    """
    try:
        if not path.is_file():
            raise UserError(f"no file {str(path)!r}: expected {what} there")
        size = path.stat().st_size
        if size > limit:
            raise UserError(f"{str(path)!r} has {size} bytes, too many for {what}")
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise UserError(f"{str(path)!r} is not UTF-8 text: expected {what}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None


def parse_json(text: str, *, what: str, where: str) -> Any:
    """Return the JSON value of `text`; see read_json for what is raised."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{where} is nested too deeply: expected {what}") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where} is not JSON (line {error.lineno}: {error.msg}): expected {what}"
        ) from None
    except ValueError as error:  # an integer of many thousand digits
        raise UserError(f"{where} cannot be read: {error}") from None
