"""One process at a time: a lock file that a dead process cannot hold.

Where the system locks files (flock), the lock vanishes with its process, however it dies.
Elsewhere (Windows, some network file systems) the file itself is the lock, and its owner is
dead when no process of that number and start time runs any more.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dots.common.errors import UserError
from dots.common.files import parse_json, telling_full_disk

if sys.platform != "win32":
    import fcntl

_MAX_BYTES = 4096
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class Lock:
    """The lock at `path`, held from `acquire` to `release` (or in a `with` block).

    The file tells who holds it: {"pid", "host", "started"}, the last the process's start time
    in clock ticks since boot, or null where the system does not tell.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._is_file = False  # the file's existence is the lock

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self) -> None:
        """Take the lock. Raises UserError, naming the owner, while another process has it."""
        if self.held:
            raise RuntimeError(f"{self.path} is locked already by this object")
        handle = self._flock()
        self._is_file = handle is None
        self._handle = self._own_file() if handle is None else handle
        try:
            with telling_full_disk(self.path):
                os.ftruncate(self._handle, 0)
                os.write(self._handle, json.dumps(_this_process()).encode())
        except (OSError, UserError):
            self.release()
            raise
        _close_in_children(self)

    def release(self) -> None:
        """Give the lock up; nothing happens where it is not held."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if not self._is_file:  # deleting it would let two processes lock two files of this name
            os.ftruncate(handle, 0)
        os.close(handle)
        if self._is_file:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def forget(self) -> None:
        """In a forked child: the lock is the parent's, and must die with the parent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _flock(self) -> int | None:
        """The handle of the locked file, or None where the system cannot lock files."""
        if sys.platform == "win32":
            return None
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _read(handle)
            os.close(handle)
            if error.errno in _NO_FLOCK:
                return None
            if isinstance(error, BlockingIOError):
                raise self._refusal(owner, "wait for it to end, or stop it") from None
            raise
        return handle

    def _own_file(self) -> int:
        """Make the file ours by creating it, after removing a dead owner's."""
        for _ in range(3):
            try:
                return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                self._remove_dead()
        raise self._refusal({}, "try again")

    def _remove_dead(self) -> None:
        """Delete the file of a dead owner; a claim lets one process at a time look and delete."""
        claim = self.path.with_name(f".{self.path.name}.claim")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            remedy = f"try again; if none runs any more, delete {str(claim)!r}"
            raise self._refusal({}, remedy) from None
        try:
            owner = _parse(self.path.read_bytes()[:_MAX_BYTES])
            if not _is_dead(owner):  # an empty file may be one that is just being written
                raise self._refusal(
                    owner, f"wait for it to end; if it runs no more, delete {str(self.path)!r}"
                )
            self.path.unlink()
        except FileNotFoundError:
            return
        finally:
            claim.unlink()

    def _refusal(self, owner: dict[str, Any], remedy: str) -> UserError:
        who = f"process {owner['pid']} on {owner['host']}" if owner else "another process"
        return UserError(f"{str(self.path.parent)!r} is in use by {who}: {remedy}")


def _close_in_children(lock: Lock) -> None:
    """Forked children (data workers) inherit the handle, and with it would keep the lock."""
    reference = weakref.ref(lock)

    def close() -> None:
        if (alive := reference()) is not None:
            alive.forget()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=close)


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}


def _started(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where that is not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])  # a command's name may hold spaces


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether the owner certainly runs no more; what cannot be told counts as alive."""
    if not owner or owner["host"] != socket.gethostname() or sys.platform == "win32":
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    now = _started(owner["pid"])
    return None not in (now, owner["started"]) and now != owner["started"]


def _read(handle: int) -> dict[str, Any]:
    """The owner in an open lock file; the file may be just being written, so it may be empty."""
    for _ in range(10):
        os.lseek(handle, 0, os.SEEK_SET)
        if owner := _parse(os.read(handle, _MAX_BYTES)):
            return owner
        time.sleep(0.01)
    return {}


def _parse(content: bytes) -> dict[str, Any]:
    try:
        value = parse_json(content.decode(), what="a lock", where="lock")
    except (UserError, UnicodeDecodeError):
        return {}
    known = isinstance(value, dict) and isinstance(value.get("host"), str)
    if not known or type(value.get("pid")) is not int or not 0 < value["pid"] < 2**31:
        return {}
    return {"pid": value["pid"], "host": value["host"], "started": value.get("started")}
