"""The one training loop: epochs, metrics, the check for non-finite losses, resume, signals."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.common.seeding import isolated_random_state, seed_step
from dots.data.batch import Batch
from dots.space.genotype import Genotype
from dots.training.engine import StepResult
from dots.training.memory_guard import MemoryGuard
from dots.training.processes import Processes

NO_STEP = 2**62
"""Beyond all steps."""

State = dict[str, Any]
Pair = tuple[Batch, Batch | None]


class Stage(Protocol):
    """What the loop drives: an operation search, a topology search, a training."""

    name: str
    epochs: int
    steps: int

    @property
    def lr(self) -> float: ...
    def batches(self, epoch: int, start: int) -> Iterator[Pair]: ...
    def begin_epoch(self, epoch: int) -> None: ...
    def set_epoch(self, epoch: int) -> None: ...
    def step(self, epoch: int, step: int, pair: Pair) -> StepResult: ...
    def end_epoch(self, epoch: int) -> dict[str, float]: ...
    def snapshot(self, epoch: int) -> dict[str, Any] | None: ...
    def current(self) -> Genotype | None: ...
    def finished(self, epoch: int) -> bool: ...
    def module(self) -> nn.Module | None: ...
    def state(self) -> State: ...
    def load_state(self, state: State) -> None: ...


class Journal(Protocol):
    """Where a stage's record goes; see `dots.runs.session.RunJournal`."""

    def resume_point(self, stage: str, attempt: int) -> State | None: ...
    def save(self, stage: str, epoch: int, step: int, state: State) -> None: ...
    def epoch_done(self, row: dict[str, Any], snapshot: dict[str, Any] | None) -> None: ...


class Watcher(Protocol):
    """Who is told how far a stage has come."""

    def stage_started(self, name: str, epochs: int, steps: int, done: int) -> None: ...
    def stepped(self, epoch: int, step: int) -> None: ...
    def epoch_done(self, row: dict[str, Any], genotype: Genotype | None) -> None: ...
    def stage_done(self, name: str) -> None: ...


class Interrupted(Exception):  # noqa: N818 - not an error: the state is saved
    """The run was asked to stop, and has saved where it is."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


class NonFiniteLossError(UserError):
    """A loss was infinite or not a number."""


@dataclass
class Meter:
    """Sums over the steps of an epoch, kept on the device and read once.

    `first_bad` is the first step whose loss was not finite, or -1.
    """

    device: torch.device
    loss: Tensor = field(init=False)
    correct: Tensor = field(init=False)
    first_bad: Tensor = field(init=False)
    images: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.loss = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), device=self.device)
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=self.device)

    def add(self, step: int, result: StepResult) -> None:
        """Count a step; nothing waits for the device."""
        bad = ~torch.isfinite(result.loss) & (self.first_bad < 0)
        self.first_bad = torch.where(bad, step, self.first_bad)
        self.loss += result.loss * result.images
        self.correct += result.correct
        self.images += result.images

    def read(self, processes: Processes) -> tuple[float, float, int]:
        """(mean loss, accuracy, first bad step or -1) of all processes."""
        totals = torch.stack([self.loss, self.correct, self.loss.new_tensor(float(self.images))])
        loss, correct, images = processes.sum(totals).tolist()
        # The first bad step is the largest of its negatives; where there is none, the least.
        bad = int(processes.max(torch.where(self.first_bad < 0, -NO_STEP, -self.first_bad)))
        return loss / images, correct / images, -1 if bad == -NO_STEP else -bad

    def numbers(self) -> Tensor:
        """(loss, correct, images, first bad step) on the CPU, exactly."""
        loss, correct, first_bad = float(self.loss), float(self.correct), float(self.first_bad)
        return torch.tensor([loss, correct, self.images, first_bad], dtype=torch.float64)

    def take(self, numbers: Tensor) -> None:
        """The inverse of `numbers`."""
        loss, correct, images, first_bad = numbers.tolist()
        self.loss = torch.tensor(loss, device=self.device, dtype=self.loss.dtype)
        self.correct = torch.tensor(correct, device=self.device, dtype=self.correct.dtype)
        self.images = int(images)
        self.first_bad = torch.tensor(int(first_bad), device=self.device)


class Clock:
    """Adds the time since the last tick to a meter: on the wall and of all this process's cores."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def tick(self) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        self.meter.seconds += wall - self.wall
        self.meter.cpu_seconds += cpu - self.cpu
        self.wall, self.cpu = wall, cpu


@dataclass
class Loop:
    """Runs stages.

    `stop_signal` returns the number of a signal that asks to stop, or None. Besides the end
    of each epoch, state is saved after `save_every` seconds. `max_steps` ends each epoch
    early (for a dry run). `guard` takes a step again where memory runs out.
    """

    seed: int
    processes: Processes
    journal: Journal
    watcher: Watcher
    stop_signal: Callable[[], int | None]
    guard: MemoryGuard | None = None
    save_every: float = 300.0
    max_steps: int | None = None
    attempt: int = field(default=0, init=False)

    def run(self, stage: Stage, attempt: int = 0) -> None:
        """Drive `stage` from where it was left to its end.

        What an earlier `attempt` left is not taken up: its rows are forgotten.

        Raises NonFiniteLossError for such a loss, Interrupted when asked to stop.
        """
        point = self.journal.resume_point(stage.name, attempt)
        epoch, step, meter = 0, 0, Meter(self.processes.device)
        if point is not None:
            epoch, step = point["epoch"], point["step"]
            stage.load_state(point["stage"])
            self._restore(meter, point["meter"])
            ended = epoch >= stage.epochs or point.get("stopped", True)
            if point["finished"] and ended:  # else it has been given more epochs
                return
        self.attempt = attempt
        self.watcher.stage_started(stage.name, stage.epochs, stage.steps, epoch)
        with isolated_random_state():
            while epoch < stage.epochs:
                self._epoch(stage, epoch, step, meter)
                done = stage.finished(epoch)
                epoch, step, meter = epoch + 1, 0, Meter(self.processes.device)
                finished = done or epoch == stage.epochs
                self._save(stage, epoch, step, meter, finished=finished, stopped=done)
                if done:
                    break
                asked, _ = self._agreed(saved=None)
                if asked:
                    raise Interrupted(asked)
        if self.guard is not None:
            self.guard.done()
        self.watcher.stage_done(stage.name)

    def _epoch(self, stage: Stage, epoch: int, step: int, meter: Meter) -> None:
        if step == 0:
            seed_step(self.seed, stage.name, epoch, "begin")
            stage.begin_epoch(epoch)
        stage.set_epoch(epoch)
        saved = time.monotonic()
        clock = Clock(meter)
        for pair in stage.batches(epoch, step):
            meter.add(step, self._step(stage, epoch, step, pair))
            network = stage.module()
            if network is not None:
                self.processes.average_statistics(network)
            step += 1
            clock.tick()
            self.watcher.stepped(epoch, step)
            if self.max_steps is not None and step >= self.max_steps:
                break
            if step == stage.steps:
                break
            asked, due = self._agreed(saved)
            if asked or due:
                self._save(stage, epoch, step, meter, finished=False)
                saved = time.monotonic()
            if asked:
                raise Interrupted(asked)
        self._record(stage, epoch, meter)

    def _step(self, stage: Stage, epoch: int, step: int, pair: Pair) -> StepResult:
        def take() -> StepResult:
            seed_step(self.seed, stage.name, epoch, step)
            return stage.step(epoch, step, pair)

        return take() if self.guard is None else self.guard.step(stage, epoch, step, take)

    def _record(self, stage: Stage, epoch: int, meter: Meter) -> None:
        loss, accuracy, first_bad = meter.read(self.processes)
        if first_bad >= 0 or not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss is not finite in stage {stage.name}, epoch {epoch}, step "
                f"{max(first_bad, 0)}: lower the learning rate (lr, arch_lr), clip gradients "
                "(clip), or leave bf16 (precision)"
            )
        row = {
            "stage": stage.name,
            "epoch": epoch,
            "seconds": round(meter.seconds, 3),
            "cpu_seconds": round(meter.cpu_seconds, 3),
            "loss": loss,
            "accuracy": accuracy,
            "lr": stage.lr,
            **stage.end_epoch(epoch),
        }
        self.journal.epoch_done(row, stage.snapshot(epoch))
        self.watcher.epoch_done(row, stage.current())

    def _save(
        self,
        stage: Stage,
        epoch: int,
        step: int,
        meter: Meter,
        *,
        finished: bool,
        stopped: bool = False,
    ) -> None:
        state = {
            "epoch": epoch,
            "step": step,
            "finished": finished,
            "attempt": self.attempt,
            "stopped": stopped,  # by itself, before its last epoch
            "stage": stage.state(),
            "meter": self._meters(meter),
        }
        self.journal.save(stage.name, epoch, step, state)

    def _meters(self, meter: Meter) -> State:
        """What all processes have counted, a row for each."""
        processes = self.processes
        table = torch.zeros(processes.world, 4, dtype=torch.float64)
        table[processes.rank] = meter.numbers()
        if processes.world > 1:
            table = processes.sum(table.to(processes.device)).cpu()
        return {"table": table, "seconds": meter.seconds, "cpu_seconds": meter.cpu_seconds}

    def _restore(self, meter: Meter, state: State) -> None:
        """Each process takes its own row; the first takes all where their number has changed."""
        table: Tensor = state["table"]
        if len(table) == self.processes.world:
            meter.take(table[self.processes.rank])
        elif self.processes.main:
            meter.take(torch.cat([table[:, :3].sum(0), table[:, 3].max()[None]]))
        meter.seconds, meter.cpu_seconds = state["seconds"], state["cpu_seconds"]

    def _agreed(self, saved: float | None) -> tuple[int, bool]:
        """(signal to stop by or 0, whether to save), the same on all processes.

        A signal to one process stops all, and the clock of the slowest decides.
        """
        due = saved is not None and time.monotonic() - saved > self.save_every
        wishes = torch.tensor([self.stop_signal() or 0, int(due)])
        if self.processes.world > 1:  # a single process has nothing to wait for
            wishes = wishes.to(self.processes.device)
        asked, due_anywhere = self.processes.max(wishes).tolist()
        return asked, bool(due_anywhere)


class StopRequest:
    """Remembers the first signal; a second one of the same kind stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> int | None:
        return self.signal

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """While entered, signals are kept in the StopRequest; only the main thread can ask for it."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, request._receive) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
