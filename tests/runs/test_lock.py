"""The lock: one owner, refused in one line, never held by the dead."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
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


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot lock files."""
    monkeypatch.setattr(Lock, "_flock", lambda self: None)


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


# --- without flock ---------------------------------------------------------------------------


@pytest.mark.usefixtures("without_flock")
def test_the_file_alone_locks_too(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path):
        assert_refused(path, f"process {os.getpid()}", f"delete {str(path)!r}")
    assert not path.exists()
    with Lock(path):
        pass


def owner(pid: int, host: str | None = None, started: int | None = 1) -> bytes:
    values = {"pid": pid, "host": host or socket.gethostname(), "started": started}
    return json.dumps(values).encode()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.usefixtures("without_flock")
def test_the_file_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(owner(dead_pid()))
    with Lock(path):
        assert json.loads(path.read_bytes())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times need /proc")
@pytest.mark.usefixtures("without_flock")
def test_a_number_that_another_process_has_by_now_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(owner(os.getpid(), started=1))
    with Lock(path):
        pass


@pytest.mark.parametrize(
    "content",
    [owner(1, host="another-host"), owner(os.getpid(), started=None), b"", b"garbage"],
    ids=["of another host", "of an unknown start", "empty", "garbage"],
)
@pytest.mark.usefixtures("without_flock")
def test_who_cannot_be_told_to_be_dead_is_respected(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    assert_refused(path, "delete")
    assert path.read_bytes() == content


@pytest.mark.usefixtures("without_flock")
def test_of_many_that_find_a_dead_lock_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    dead = owner(dead_pid())
    for _ in range(20):
        path.write_bytes(dead)
        winners: list[Lock] = []
        barrier = threading.Barrier(8)

        def compete(barrier: threading.Barrier = barrier, winners: list[Lock] = winners) -> None:
            lock = Lock(path)
            barrier.wait()
            try:
                lock.acquire()
            except UserError:
                return
            winners.append(lock)

        threads = [threading.Thread(target=compete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
        winners[0].release()
