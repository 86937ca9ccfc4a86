"""One process at a time: a lock file that a dead process cannot hold, and that says who does."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout, UnixFileLock

from dots.common.errors import UserError
from dots.common.files import parse_json, telling_full_disk


class Lock:
    """The lock at `path`, held from `acquire` to `release` (or in a `with` block).

    Where the system locks files, the file tells who holds it: {"pid", "host"}.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path, timeout=0, thread_local=False)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def acquire(self) -> None:
        """Take the lock. Raises UserError, naming the owner, while another process has it."""
        if self.held:
            raise RuntimeError(f"{self.path} is locked already by this object")
        try:
            with telling_full_disk(self.path):
                self._lock.acquire()
                self._tell(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        except Timeout:
            owner = _owner(self.path)
            who = f"process {owner[0]} on {owner[1][:200]}" if owner else "another process"
            raise UserError(
                f"{str(self.path.parent)!r} is in use by {who}: wait for it to end, or stop it"
            ) from None
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock up; nothing happens where it is not held."""
        if self.held:
            self._tell("")
            self._lock.release()

    def _tell(self, owner: str) -> None:
        """Write into the file, but where the file itself is the lock (`pid` is of that)."""
        if isinstance(self._lock, UnixFileLock) and not hasattr(self._lock, "pid"):
            self.path.write_text(owner)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a process that lives, on this machine, says in the file that it holds the lock."""
    owner = _owner(path)
    if owner is None or owner[1] != socket.gethostname():
        return owner is not None  # of another machine nobody here can know
    try:
        os.kill(owner[0], 0)
    except PermissionError:
        return True  # it lives, and is another user's
    except OSError:
        return False
    return True


def _owner(path: Path) -> tuple[int, str] | None:
    """Process and machine that hold it, as the file says; it may be just being written."""
    try:
        owner: Any = parse_json(path.read_text(), what="a lock", where="lock")
        return int(owner["pid"]), str(owner["host"])
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return None
