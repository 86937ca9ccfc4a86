"""The lock: one owner, refused in one line, never held by the dead."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.runs.lock import Lock

HOLD = """
import os, sys, time
from pathlib import Path
from dots.runs.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
child = os.fork() if sys.argv[2] == "fork" else 0
if sys.argv[2] != "fork":
    print(0, flush=True)
elif not child:  # the child tells: what it does at its birth is done by then
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path, how: str = "alone") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds the lock, with the number of the child it forked."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            if child:
                os.kill(child, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def assert_refused(path: Path, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        Lock(path).acquire()
    message = str(caught.value)
    assert "\n" not in message
    for part in (repr(str(path.parent)), *parts):
        assert part in message


def test_the_second_is_refused_and_told_by_whom_until_the_first_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path) as first:
        assert first.held
        assert_refused(path, f"process {os.getpid()} on {socket.gethostname()}", "wait")
    assert not first.held
    assert path.read_bytes() == b""
    with Lock(path):
        pass


def test_another_process_is_respected_while_it_lives_and_forgotten_when_killed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    with holder(path) as (process, _):
        assert_refused(path, f"process {process.pid} on")
        process.kill()
        process.wait()
        with Lock(path):
            assert json.loads(path.read_bytes())["pid"] == os.getpid()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_keep_the_lock_of_its_killed_parent(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path, "fork") as (process, child):
        assert_refused(path)
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        with Lock(path):
            pass


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[" * 100_000, b'{"pid": 1}', b'{"pid": -1, "host": "x"}']
)
def test_what_the_file_held_does_not_matter_where_the_system_locks(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    with Lock(path):
        assert json.loads(path.read_bytes())["pid"] == os.getpid()


def test_an_object_does_not_lock_twice(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock") as lock, pytest.raises(RuntimeError, match="already"):
        lock.acquire()
