"""What a loop writes to and asks, in memory."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dots.training.loop import State


class Memory:
    """A journal in memory."""

    def __init__(self) -> None:
        self.saved: list[State] = []
        self.rows: list[dict[str, Any]] = []

    def resume_point(self, stage: str, attempt: int = 0) -> State | None:
        state = self.saved[-1] if self.saved else None
        epoch = state["epoch"] if state else 0
        self.rows = [row for row in self.rows if row["epoch"] < epoch]
        return state

    def save(self, stage: str, epoch: int, step: int, state: State) -> None:
        self.saved.append({key: _copied(value) for key, value in state.items()})

    def epoch_done(self, row: dict[str, Any], snapshot: dict[str, Any] | None) -> None:
        self.rows.append(row)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


class SignalAfter:
    """Asks to stop at the n-th question."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> int | None:
        self.count -= 1
        return 2 if self.count < 0 else None
