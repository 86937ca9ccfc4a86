"""Where a stage's record goes: metrics, architecture and checkpoints in the run directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dots.runs.directory import RunDirectory
from dots.training.loop import State
from dots.training.processes import Processes


class RunJournal:
    """Writes to a run directory, on the main process alone; every process reads.

    None may read what is not written yet, so they wait for one another. `say` tells the user
    which checkpoints are damaged.
    """

    def __init__(
        self,
        run: RunDirectory,
        processes: Processes,
        *,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.run = run
        self.processes = processes
        self.say = say
        self._said: set[str] = set()

    def resume_point(self, stage: str, attempt: int) -> State | None:
        """The newest state of this attempt of the stage, or None where it has not begun.

        Rows that were written after it are forgotten: they will be written again.
        """
        newest = self.run.checkpoints.newest(stage)
        for notice in self.run.checkpoints.notices:
            if notice not in self._said:
                self._said.add(notice)
                self.say(notice)
        self.processes.barrier()
        state = None if newest is None else newest[1]
        if state is not None and state.get("attempt", 0) != attempt:
            state = None
        if self.processes.main:
            self.run.rewind(stage, 0 if state is None else state["epoch"])
        self.processes.barrier()
        return state

    def save(self, stage: str, epoch: int, step: int, state: State) -> None:
        """Write a checkpoint."""
        if self.processes.main:
            self.run.checkpoints.write(stage, epoch, step, state)
        self.processes.barrier()

    def epoch_done(self, row: dict[str, Any], snapshot: dict[str, Any] | None) -> None:
        """Append an epoch's metrics, and the architecture as it stands."""
        if not self.processes.main:
            return
        self.run.metrics.append(row)
        if snapshot is not None:
            self.run.architecture.append(snapshot)
