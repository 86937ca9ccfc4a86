"""Trials in processes of this machine, one process for each attempt.

A process of its own for each attempt means that whatever kills one (a crash in native code,
the system running out of memory) takes nothing else with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.common.files import read_json, write_json
from dots.runs.lock import Lock
from dots.study.execution.attempts import Outcome, Work, attempt
from dots.study.trial import Trial
from dots.training.loop import Interrupted

LOG = "log.txt"
OUTCOME = "outcome.json"
STOP_SECONDS = 120.0
"""So long a stopped trial has to save its state."""
LOCK_SECONDS = 120.0
"""So long a trial waits for an orphan of an earlier study that still saves its state."""


@dataclass(frozen=True)
class _Running:
    trial: Trial
    folder: Path
    process: BaseProcess
    slot: int
    started: float
    log_start: int
    """Where this attempt's part of the log begins, in bytes."""


class ProcessPool:
    """Runs up to `workers` attempts at once. `gpus` are dealt out to the workers in turn."""

    def __init__(self, work: Work, workers: int, gpus: Sequence[str] = ()) -> None:
        self.capacity = workers
        self._work = work
        self._gpus = tuple(gpus)
        self._context = _context()
        self._running: list[_Running] = []

    def start(self, trial: Trial, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OUTCOME).unlink(missing_ok=True)
        log = folder / LOG
        begin = log.stat().st_size if log.exists() else 0
        slot = min(set(range(self.capacity)) - {one.slot for one in self._running})
        gpu = self._gpus[slot % len(self._gpus)] if self._gpus else None
        process = self._context.Process(
            target=_attempt_in_child,
            args=(self._work, trial.spec, str(folder), gpu),
            name=trial.name,
        )
        process.start()
        self._running.append(_Running(trial, folder, process, slot, time.monotonic(), begin))

    def wait(self, seconds: float) -> list[tuple[Trial, Outcome, float]]:
        sentinels = [one.process.sentinel for one in self._running]
        ready = set(wait(sentinels, seconds))
        ended = [one for one in self._running if one.process.sentinel in ready]
        self._running = [one for one in self._running if one.process.sentinel not in ready]
        found = []
        for one in ended:
            one.process.join()
            found.append((one.trial, _outcome(one), time.monotonic() - one.started))
            one.process.close()
        return found

    def stop(self) -> None:
        for one in self._running:
            one.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for one in self._running:
            one.process.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        for one in self._running:
            one.process.kill()
            one.process.join()
            one.process.close()
        self._running = []


def _context() -> ForkServerContext | SpawnContext:
    """Children forked from a server that has loaded PyTorch already, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _outcome(one: _Running) -> Outcome:
    """What an ended process left; an error where it left nothing."""
    code = one.process.exitcode
    if code == 0 and (one.folder / OUTCOME).exists():
        return Outcome(**read_json(one.folder / OUTCOME, what="the outcome of a trial"))
    log = one.folder / LOG
    text = log.read_bytes()[one.log_start :].decode(errors="replace") if log.exists() else ""
    return Outcome(error=_death(code, text))


def _death(code: int | None, log: str) -> str:
    if code is not None and code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"its process was killed by signal {-code} ({names.get(-code, 'unknown')})"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return f"its process ended with exit status {code}"
    last = lines[-1] if len(lines[-1]) <= 300 else lines[-1][:300] + "…"
    return f"{last} (exit status {code})"


def _attempt_in_child(work: Work, spec: Mapping[str, Any], folder: str, gpu: str | None) -> None:
    """The life of a child: its own signals, log and device; the outcome goes into a file."""
    place = Path(folder)
    _log_to(place / LOG)
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is the parent's to pass on
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lock = Lock(place / "lock")
    _take(lock)
    try:
        write_json(place / OUTCOME, attempt(work, spec, folder))
    except Interrupted as stopped:  # its state is saved
        sys.exit(128 + stopped.signal)
    finally:
        lock.release()


def _log_to(path: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _end_with_parent() -> None:
    """Stop as after a signal when the study's process dies, however it dies."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _take(lock: Lock) -> None:
    """Take the lock as soon as whoever has it gives it up."""
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        with suppress(UserError):
            lock.acquire()
            return
        time.sleep(0.2)
    lock.acquire()
