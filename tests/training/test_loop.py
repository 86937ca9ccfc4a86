"""The loop on a toy stage: order of calls, resume at any step, bad losses, signals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from dots.common.errors import UserError
from dots.runs.progress import Silent
from dots.training.engine import StepResult
from dots.training.loop import Interrupted, Loop, Meter, Pair, State
from dots.training.processes import Processes
from helpers import small
from helpers.journals import Memory, SignalAfter


class Walk:
    """A stage whose state is a random walk: any difference in the draws shows."""

    name = "walk"

    def __init__(self, epochs: int = 3, steps: int = 4, bad_at: int = -1) -> None:
        self.epochs, self.steps, self.bad_at = epochs, steps, bad_at
        self.position = torch.zeros(3)
        self.calls: list[str] = []
        self.lr = 0.1
        self.stop_after: int | None = None

    def batches(self, epoch: int, start: int) -> Iterator[Pair]:
        return ((small.batch(seed=step), None) for step in range(start, self.steps))

    def begin_epoch(self, epoch: int) -> None:
        self.calls.append(f"begin {epoch}")
        self.position += torch.randn(3)

    def set_epoch(self, epoch: int) -> None:
        self.calls.append(f"set {epoch}")

    def step(self, epoch: int, step: int, pair: Pair) -> StepResult:
        self.calls.append(f"step {epoch}.{step}")
        self.position += torch.randn(3)
        bad = epoch * self.steps + step == self.bad_at
        loss = torch.tensor(float("nan")) if bad else self.position.square().sum()
        return StepResult(loss, torch.tensor(2.0), 6)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {"size": float(self.position.norm())}

    def snapshot(self, epoch: int) -> dict[str, Any] | None:
        return {"stage": self.name, "epoch": epoch}

    def current(self) -> None:
        return None

    def finished(self, epoch: int) -> bool:
        return self.stop_after is not None and epoch >= self.stop_after

    def module(self) -> None:
        """No network."""

    def state(self) -> State:
        return {"position": self.position.clone()}

    def load_state(self, state: State) -> None:
        self.position = state["position"].clone()


ALONE = Processes.single(torch.device("cpu"))


def _with(other: torch.Tensor) -> Processes:
    """Two processes, of which the other has this value."""

    class Two(Processes):
        def max(self, value: torch.Tensor) -> torch.Tensor:
            return torch.maximum(value, other)

    return Two(ALONE.device)


def _loop(journal: Memory, stop: Any = lambda: None, **settings: Any) -> Loop:
    return Loop(
        seed=5,
        processes=ALONE,
        journal=journal,
        watcher=Silent(),
        stop_signal=stop,
        **settings,
    )


TIMES = ("seconds", "cpu_seconds")


def _without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def test_the_order_of_calls_and_the_rows() -> None:
    stage, journal = Walk(epochs=2, steps=2), Memory()
    _loop(journal).run(stage)
    assert stage.calls == [
        "begin 0", "set 0", "step 0.0", "step 0.1", "begin 1", "set 1", "step 1.0", "step 1.1",
    ]  # fmt: skip
    assert [row["epoch"] for row in journal.rows] == [0, 1]
    assert journal.rows[0]["accuracy"] == pytest.approx(1 / 3)
    assert journal.saved[-1]["finished"]


@pytest.mark.parametrize("asked", range(13))
def test_interrupted_anywhere_equals_uninterrupted(asked: int) -> None:
    whole, record = Walk(), Memory()
    _loop(record).run(whole)
    journal = Memory()
    interrupted = asked < 12  # a question after each step, the last of an epoch after that
    with pytest.raises(Interrupted) if interrupted else nullcontext():
        _loop(journal, SignalAfter(asked)).run(Walk())
    resumed = Walk()
    _loop(journal).run(resumed)
    assert torch.equal(resumed.position, whole.position)
    assert _without_times(journal.rows) == _without_times(record.rows)


def test_a_stage_may_finish_early_and_does_not_run_again() -> None:
    stage, journal = Walk(), Memory()
    stage.stop_after = 1
    _loop(journal).run(stage)
    assert len(journal.rows) == 2
    again = Walk()
    _loop(journal).run(again)
    assert again.calls == []
    assert torch.equal(again.position, stage.position)


def test_a_non_finite_loss_names_epoch_step_and_settings() -> None:
    with pytest.raises(UserError, match=r"stage walk, epoch 1, step 2: .*lr.*clip.*precision"):
        _loop(Memory()).run(Walk(bad_at=6))


def test_time_between_checkpoints_within_an_epoch() -> None:
    journal = Memory()
    _loop(journal, save_every=0.0).run(Walk(epochs=1, steps=4))
    assert [(s["epoch"], s["step"]) for s in journal.saved] == [(0, 1), (0, 2), (0, 3), (1, 0)]


def test_max_steps_ends_each_epoch_early() -> None:
    stage = Walk(epochs=2)
    _loop(Memory(), max_steps=1).run(stage)
    assert [call for call in stage.calls if call.startswith("step")] == ["step 0.0", "step 1.0"]


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    _loop(Memory()).run(Walk(epochs=1))
    assert torch.equal(torch.rand(2), expected)


def test_the_meter_remembers_the_first_bad_step() -> None:
    meter = Meter(torch.device("cpu"))
    for step, loss in enumerate([1.0, float("inf"), float("nan")]):
        meter.add(step, StepResult(torch.tensor(loss), torch.tensor(1.0), 2))
    assert meter.read(ALONE)[2] == 1


def test_the_first_bad_step_is_that_of_all_processes() -> None:
    """Bad on the other process in its second step, here from the third on."""
    meters = [Meter(torch.device("cpu")) for _ in range(2)]
    for meter, first in zip(meters, (2, 1), strict=True):
        for step in range(4):
            loss = torch.tensor(1.0 if step < first else float("nan"))
            meter.add(step, StepResult(loss, torch.tensor(1.0), 2))
    other = torch.tensor(-meters[1].read(ALONE)[2])
    assert meters[0].read(_with(other))[2] == 1
    good = Meter(torch.device("cpu"))
    good.add(0, StepResult(torch.tensor(1.0), torch.tensor(1.0), 2))
    assert good.read(ALONE)[2] == -1
    assert good.read(_with(other))[2] == 1
