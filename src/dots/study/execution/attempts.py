"""Running trials to their end, one way for processes and for Ray: queue, retries, stopping."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dots.common.errors import UserError
from dots.study.trial import Json, Trial
from dots.training.loop import Interrupted

Work = Callable[[Mapping[str, Any], str], Json]
"""What a trial does, from its spec and its folder; `dots.study.trial.run_trial`."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: with a result, or with an error.

    `final`: the user's mistake, which another attempt would only repeat.
    """

    result: Json | None = None
    error: str | None = None
    final: bool = False


@dataclass(frozen=True)
class Record:
    """What is kept of a trial: its result, or why there is none after so many attempts."""

    result: Json | None
    error: str | None
    attempts: int
    seconds: float
    """Wall time of the last attempt."""


class Executor(Protocol):
    """Where attempts run. `capacity` says how many at once."""

    capacity: int

    def start(self, trial: Trial, folder: Path) -> None:
        """Begin an attempt at a trial."""

    def wait(self, seconds: float) -> list[tuple[Trial, Outcome, float]]:
        """The attempts that have ended, with their seconds; waits up to `seconds` for one."""

    def stop(self) -> None:
        """Ask all attempts to save their state and end, and wait for that."""

    def close(self) -> None:
        """End whatever still runs."""


def attempt(work: Work, spec: Mapping[str, Any], folder: str) -> Json:
    """One attempt, as JSON: {"result", "error", "final"}.

    A user's mistake is an outcome; any other error is the caller's to notice.
    """
    try:
        return {"result": work(spec, folder), "error": None, "final": False}
    except UserError as error:
        return {"result": None, "error": str(error), "final": True}


def run_all(
    executor: Executor,
    trials: Iterable[Trial],
    folder_of: Callable[[Trial], Path],
    finish: Callable[[Trial, Record], Iterable[Trial]],
    *,
    retries: int,
    stop_signal: Callable[[], int | None] = lambda: None,
    tick: Callable[[Counter[str]], None] = lambda running: None,
) -> None:
    """Run trials, and those that `finish` says each makes possible, until none is left.

    An attempt that fails or dies is repeated up to `retries` times, after the trials that
    wait; then `finish` gets the error. `tick` is told now and then how many trials of each
    kind are running. Raises Interrupted once `stop_signal` gives a signal and all attempts
    have been stopped.
    """
    waiting = deque(trials)
    running: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    try:
        while waiting or running.total():
            while waiting and running.total() < executor.capacity:
                trial = waiting.popleft()
                attempts[trial.name] += 1
                running[trial.kind] += 1
                executor.start(trial, folder_of(trial))
            tick(running)
            for trial, outcome, seconds in executor.wait(0.5):
                running[trial.kind] -= 1
                count = attempts[trial.name]
                if outcome.error is not None and not outcome.final and count <= retries:
                    waiting.append(trial)
                    continue
                record = Record(outcome.result, outcome.error, count, round(seconds, 3))
                waiting.extend(finish(trial, record))
            if (signal := stop_signal()) is not None:
                executor.stop()
                raise Interrupted(signal)
    finally:
        executor.close()
