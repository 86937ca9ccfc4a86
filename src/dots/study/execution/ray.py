"""Trials on several machines through Ray, which the extra `ray` installs."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from dots.common.errors import UserError
from dots.study.execution.attempts import Outcome, Work, attempt
from dots.study.trial import Trial
from dots.training.loop import Interrupted

LOCAL = "local"
KNOCK_SECONDS = 10.0


class RayCluster:
    """Runs attempts as Ray tasks of one CPU each, and one GPU each with `gpu`.

    `address` is that of a cluster ("auto", "host:6379", "ray://host:10001"), or "local" for
    a new one on this machine with `workers` CPUs. Results come back through Ray; the folders
    of trials are written where they run, so only on a shared file system does a retry go on
    where the attempt before it was. Raises UserError where Ray or the cluster is not there.
    """

    def __init__(self, work: Work, address: str, workers: int, *, gpu: bool = False) -> None:
        self._ray = _ray()
        self._connect(address, workers)
        resources = self._ray.cluster_resources()
        self.capacity = max(1, int(resources.get("GPU" if gpu else "CPU", 0)))
        if gpu and not resources.get("GPU"):
            self._ray.shutdown()
            raise UserError("the Ray cluster has no GPU: use --device cpu")
        options = {"num_cpus": 1, "num_gpus": 1 if gpu else 0, "max_retries": 0}
        self._task = self._ray.remote(**options)(_attempt_in_task)
        self._work = work
        self._running: dict[Any, tuple[Trial, float]] = {}

    def _connect(self, address: str, workers: int) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False}
        try:
            _knock(address)
            if address == LOCAL:
                self._ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
            else:
                self._ray.init(address=address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"no Ray cluster at {address!r}: {reason}") from None

    def start(self, trial: Trial, folder: Path) -> None:
        reference = self._task.remote(self._work, trial.spec, str(folder))
        self._running[reference] = (trial, time.monotonic())

    def wait(self, seconds: float) -> list[tuple[Trial, Outcome, float]]:
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        found = []
        for reference in ready:
            trial, started = self._running.pop(reference)
            found.append((trial, self._outcome(reference), time.monotonic() - started))
        return found

    def _outcome(self, reference: Any) -> Outcome:
        try:
            return Outcome(**self._ray.get(reference))
        except self._ray.exceptions.RayError as error:  # it raised, or its process died
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raised = isinstance(error, self._ray.exceptions.RayTaskError)
            reason = (lines[-1] if raised else lines[0]) if lines else ""
            return Outcome(error=f"{type(error).__name__}: {reason[:300]}".rstrip(": "))

    def stop(self) -> None:
        """Interrupt all tasks; each has its last checkpoint to go on from."""
        for reference in self._running:
            self._ray.cancel(reference, force=False)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=60)

    def close(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running = {}
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise UserError(
            "Ray is not installed: pip install 'dots-nas[ray]', or leave out --ray and use "
            "--workers"
        ) from None
    import ray.exceptions  # not loaded by `import ray` alone

    module: ModuleType = ray
    return module


def _attempt_in_task(work: Work, spec: dict[str, Any], folder: str) -> dict[str, Any]:
    """The same as in a process, on whatever machine Ray chose."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        return attempt(work, spec, folder)
    except Interrupted as stopped:
        raise RuntimeError(str(stopped)) from None
