"""Memory that runs out: in the first steps batches are halved, later the run stops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.data.batch import Batch
from dots.training.engine import Engine, StepResult
from dots.training.memory_guard import MemoryGuard, copied, is_out_of_memory
from dots.training.processes import Processes
from helpers import small


class Hungry:
    """A stage of which a step on more than `fits` images runs out of memory.

    As a search does, it moves something before the pass that may fail.
    """

    name = "hungry"

    def __init__(self, engine: Engine, fits: int) -> None:
        self.engine, self.fits = engine, fits
        torch.manual_seed(0)
        self.model = nn.Linear(3 * 8 * 8, 5).double()
        self.moved = torch.zeros(1)

    def step(self) -> StepResult:
        self.moved += 1

        def objective(part: Batch) -> tuple[Tensor, Tensor]:
            if len(part.labels) > self.fits:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            logits = self.model(part.images.double().flatten(1))
            return self.engine.cross_entropy(logits, part.labels), logits

        return self.engine.gradients(small.batch(8), objective, list(self.model.parameters()))

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "moved": self.moved}

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.moved = state["moved"].clone()


def _guarded(fits: int, processes: int = 1) -> tuple[Hungry, MemoryGuard, list[tuple[int, str]]]:
    said: list[tuple[int, str]] = []
    engine = Engine(Processes(torch.device("cpu"), world=processes))
    guard = MemoryGuard(engine, lambda parts, line: said.append((parts, line)))
    return Hungry(engine, fits), guard, said


@pytest.mark.parametrize(("fits", "parts"), [(8, 1), (4, 2), (3, 4), (1, 8)])
def test_the_first_step_is_taken_in_as_many_parts_as_it_needs(fits: int, parts: int) -> None:
    stage, guard, said = _guarded(fits)
    result = guard.step(stage, 0, 0, stage.step)
    assert stage.engine.accumulate == parts
    assert stage.moved.item() == 1  # each attempt started from the same state
    roomy, _, _ = _guarded(8)
    expected = roomy.step()
    assert result.images == 8
    torch.testing.assert_close(result.loss, expected.loss)
    torch.testing.assert_close(stage.model.weight.grad, roomy.model.weight.grad)
    assert [count for count, _ in said] == [2, 4, 8][: len(said)]
    if said:
        assert "batch statistics" in said[-1][1]
        assert "hungry" in said[-1][1]


def test_after_three_halvings_the_settings_to_try_are_named() -> None:
    stage, guard, said = _guarded(fits=0)
    with pytest.raises(UserError, match=r"epoch 1, step 2.*accumulate=2.*low_memory.*bf16"):
        guard.step(stage, 1, 2, stage.step)
    assert len(said) == 3


def test_later_the_run_stops_at_once() -> None:
    stage, guard, said = _guarded(fits=8)
    for step in range(3):
        guard.step(stage, 0, step, stage.step)
    stage.fits = 4
    with pytest.raises(UserError, match="out of memory in stage hungry, epoch 0, step 3"):
        guard.step(stage, 0, 3, stage.step)
    assert said == []


def test_several_processes_stop_at_once() -> None:
    stage, guard, said = _guarded(fits=4, processes=2)
    with pytest.raises(UserError, match="out of memory"):
        guard.step(stage, 0, 0, stage.step)
    assert said == []


def test_other_errors_pass() -> None:
    stage, guard, _ = _guarded(fits=8)

    def broken() -> StepResult:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        guard.step(stage, 0, 0, broken)


def test_what_is_a_lack_of_memory() -> None:
    cpu = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"
    )
    assert is_out_of_memory(cpu)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes"))


def test_a_copied_state_stays_as_it_was() -> None:
    tensor = torch.zeros(2)
    state = copied({"a": [tensor, (1, "x")]})
    tensor += 1
    assert state["a"][0].tolist() == [0, 0]
    assert state["a"][1] == (1, "x")
