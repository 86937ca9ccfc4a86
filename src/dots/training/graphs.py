"""A step as one CUDA graph: taken after a few steps that run as usual, then replayed.

A step of a supernet is thousands of small kernels, and to launch them from Python takes longer
than they do. A graph is launched as a whole. It repeats what the step did on the device when it
was captured, with the same memory and the same numbers; so a step is given its images in
buffers that stay, reads what changes from step to step from tensors, and is captured anew
where anything else has changed: with another key, and after `forget`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import torch

from dots.common.errors import UserError, in_one_line
from dots.data.batch import Batch

CHOICE = "DOTS_GRAPHS"
FIRST, LATER = 3, 1
"""Steps before a capture: as PyTorch advises; and to make what optimisers remember, once the
libraries that it loads are there."""

Call = Callable[[], object]
Step = Callable[..., object]


class Captured(NamedTuple):
    """What repeats a step, where it leaves its result, and the memory that it works in."""

    repeat: Call
    result: object
    pool: Any


class Capturer(Protocol):
    """What captures a step."""

    def aside(self, call: Call) -> object:
        """What `call` gives, run as it will be when it is captured."""

    def capture(self, call: Call, pool: Any) -> Captured:
        """`call`, of which nothing runs on the device yet.

        It may work in the `pool` of others, None without: one never runs while another does,
        and none needs what another has left there.
        """

    def recover(self) -> None:
        """After a capture that failed."""


class Graphs:
    """The graphs of the steps of a stage, taken by a `capturer`; `say` is told what is not."""

    def __init__(self, capturer: Capturer, say: Callable[[str], None]) -> None:
        self.works = True
        self._capturer = capturer
        self._say = say
        self._said: set[str] = set()
        self._key: Hashable = None
        self._graphs: dict[Hashable, _Graph] = {}
        """Of this key, by the size of their batches."""
        self._steps = 0
        """With this key, before there was a graph."""
        self._needed = FIRST

    def run(self, step: Step, batches: tuple[Batch | None, ...], key: Hashable, why: str) -> object:
        """`step(*batches)`; what it gives is overwritten by the next call.

        Steps with one `key` after another, on batches of one size, do the same on the device.
        Those of other sizes, as the last batch of an epoch, share their memory. `why` says why
        no two steps do the same, and none is to be captured; "" where they do.
        """
        if not self.works:
            return step(*batches)
        if why:
            self._once(f"{why}, so they are not captured in a CUDA graph, and slower")
            return step(*batches)
        key = key, *(batch is None for batch in batches)
        if key != self._key:
            self.forget()
            self._key = key
        sizes = tuple(batch and (batch.images.shape, batch.total) for batch in batches)
        if sizes not in self._graphs:
            self._steps += 1
            if self._steps <= self._needed:
                return self._capturer.aside(lambda: step(*batches))
            pool = next((graph.pool for graph in self._graphs.values()), None)
            try:
                self._graphs[sizes] = _Graph(self._capturer, step, batches, pool)
            except RuntimeError as error:
                self._give_up(error)
                return step(*batches)
            self._needed = LATER
        return self._graphs[sizes].replay(batches)

    def forget(self) -> None:
        """The memory of a step is free, and the next ones may do something else."""
        self._key, self._steps = None, 0
        self._graphs.clear()

    def _give_up(self, error: Exception) -> None:
        self.works = False
        self.forget()
        self._capturer.recover()
        why = in_one_line(error)
        self._once(f"a step could not be captured in a CUDA graph, so steps run as usual: {why}")

    def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


class _Graph:
    """A captured step, and the buffers from which it takes its images and labels."""

    def __init__(
        self, capturer: Capturer, step: Step, batches: tuple[Batch | None, ...], pool: Any
    ) -> None:
        self.batches = [
            batch and batch.part(batch.images.clone(), batch.labels.clone()) for batch in batches
        ]
        captured = capturer.capture(lambda: step(*self.batches), pool)
        self._repeat, self._result, self.pool = captured

    def replay(self, batches: tuple[Batch | None, ...]) -> object:
        for own, given in zip(self.batches, batches, strict=True):
            if own is not None and given is not None:
                own.images.copy_(given.images)
                own.labels.copy_(given.labels)
        self._repeat()
        return self._result


class CudaCapturer:
    """Captures on a stream of its own, as PyTorch's CUDA graphs ask."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def aside(self, call: Call) -> object:
        here = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = call()
        here.wait_stream(self._stream)
        return result

    def capture(self, call: Call, pool: Any) -> Captured:
        graph = torch.cuda.CUDAGraph()
        # Other threads, as those that decode images, may go on meanwhile.
        with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
            result = call()
        return Captured(graph.replay, result, graph.pool())

    def recover(self) -> None:
        """The random state still counts for the graph that was not finished: go on with a copy."""
        state = torch.cuda.default_generators[self.device.index or 0]
        state.graphsafe_set_state(state.clone_state())


def cuda_graphs(device: torch.device, say: Callable[[str], None]) -> Graphs | None:
    """Graphs for a device that has them; None elsewhere, and where DOTS_GRAPHS=off.

    Raises UserError where that variable says anything but on or off.
    """
    choice = os.environ.get(CHOICE, "on").lower()
    if choice not in ("on", "off"):
        raise UserError(f"{CHOICE}={os.environ[CHOICE]!r}: choose on or off")
    if device.type != "cuda" or choice == "off":
        return None
    return Graphs(CudaCapturer(device), say)
