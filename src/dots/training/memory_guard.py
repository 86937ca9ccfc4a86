"""Running out of memory: in the first steps a batch is taken in parts, later the run stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from dots.common.errors import UserError
from dots.training.engine import Engine, StepResult

FIRST_STEPS = 3
MOST_HALVINGS = 3


class Restorable(Protocol):
    """What the guard needs of a stage."""

    name: str

    def state(self) -> dict[str, Any]: ...
    def load_state(self, state: dict[str, Any]) -> None: ...


class MemoryGuard:
    """Takes the steps of a run's stages, and again with less memory where one runs out of it.

    In the first steps of a stage the batch is halved by gradient accumulation, so that the
    effective batch stays, up to three times in a run; `record` is told the new number of parts
    and a line for the user. Afterwards, and with several processes (which wait for one
    another within a step), the error names the settings to try.
    """

    def __init__(self, engine: Engine, record: Callable[[int, str], None]) -> None:
        self.engine = engine
        self.record = record
        self.halvings = 0 if engine.processes.world == 1 else MOST_HALVINGS
        self._taken: dict[str, int] = {}

    def step(
        self, stage: Restorable, epoch: int, step: int, take: Callable[[], StepResult]
    ) -> StepResult:
        """The result of `take`, which can be called again from the same state of the stage.

        Raises UserError where memory runs out and nothing more can be done about it.
        """
        taken = self._taken.get(stage.name, 0)
        first = taken < FIRST_STEPS and self.halvings < MOST_HALVINGS
        before = copied(stage.state()) if first else None
        while True:
            result = self._tried(take)
            if result is not None:
                self._taken[stage.name] = taken + 1
                return result
            release()
            if before is None or self.halvings == MOST_HALVINGS:
                raise UserError(advice(stage.name, epoch, step))
            self._halve(stage.name)
            stage.load_state(before)

    def done(self) -> None:
        """A stage is over: what its steps held for the next ones is free."""
        self.engine.forget_steps()

    def _tried(self, take: Callable[[], StepResult]) -> StepResult | None:
        """None where memory ran out; the error, which holds tensors, is gone then."""
        try:
            return take()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _halve(self, stage: str) -> None:
        self.halvings += 1
        self.engine.forget_steps()
        self.engine.accumulate *= 2
        parts = self.engine.accumulate
        self.record(
            parts,
            f"out of memory in the first steps of {stage}: each batch is now taken in {parts} "
            "parts (accumulate); gradients are still those of the whole batch, but batch "
            "statistics are those of a part",
        )


def advice(stage: str, epoch: int, step: int) -> str:
    """The line of the error when memory runs out for good."""
    return (
        f"out of memory in stage {stage}, epoch {epoch}, step {step}: try accumulate=2 (a batch "
        "in parts), low_memory=true (cells are computed again in the backward pass), or "
        "precision=bf16, each with --set"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is of memory, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "can't allocate memory" in text or "out of memory" in text


def release() -> None:
    """Give unused memory back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def copied(state: Any) -> Any:
    """A copy of a nested state whose tensors do not change with the original, on the CPU."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(copied(value) for value in state)
    return state
