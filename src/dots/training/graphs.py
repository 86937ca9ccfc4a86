"""A step as one CUDA graph: taken after a few steps that run as usual, then replayed.

A step of a supernet is thousands of small kernels, and to launch them from Python takes longer
than they do. A graph is launched as a whole. It repeats what the step did on the device when it
was captured, with the same memory and the same numbers; so a step is given its images in
buffers that stay, reads what changes from step to step from tensors, and is captured anew
where anything else has changed: with another key, and after `forget`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol

import torch

from dots.common.errors import UserError
from dots.data.batch import Batch

CHOICE = "DOTS_GRAPHS"
FIRST, LATER = 3, 1
"""Steps before a capture: as PyTorch advises; and to make what optimisers remember, once the
libraries that it loads are there."""

Call = Callable[[], object]
Step = Callable[..., object]


class Capturer(Protocol):
    """What captures a step."""

    def aside(self, call: Call) -> object:
        """What `call` gives, run as it will be when it is captured."""

    def capture(self, call: Call) -> tuple[Call, object]:
        """Run nothing on the device: what repeats `call`, and where it leaves its result."""

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
        self._graph: _Graph | None = None
        self._steps = 0
        """With this key, before there is a graph."""
        self._needed = FIRST

    def run(self, step: Step, batches: tuple[Batch | None, ...], key: Hashable, why: str) -> object:
        """`step(*batches)`; what it gives is overwritten by the next call.

        Steps with one `key` after another, on batches of one size, do the same on the device.
        Of a smaller batch, as the last of an epoch, none is captured. `why` says why no two
        steps do the same, and none is to be captured; "" where they do.
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
        if self._graph is not None and self._graph.takes(batches):
            return self._graph.replay(batches)
        if self._graph is not None and self._graph.is_larger(batches):
            return self._capturer.aside(lambda: step(*batches))
        self._graph, self._steps = None, self._steps + 1
        if self._steps <= self._needed:
            return self._capturer.aside(lambda: step(*batches))
        try:
            self._graph = _Graph(self._capturer, step, batches)
        except RuntimeError as error:
            self._give_up(error)
            return step(*batches)
        self._needed = LATER
        return self._graph.replay(batches)

    def forget(self) -> None:
        """The memory of a step is free, and the next ones may do something else."""
        self._key, self._graph, self._steps = None, None, 0

    def _give_up(self, error: Exception) -> None:
        self.works = False
        self.forget()
        self._capturer.recover()
        line = " ".join(str(error).split())[:200] or type(error).__name__
        self._once(f"a step could not be captured in a CUDA graph, so steps run as usual: {line}")

    def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


class _Graph:
    """A captured step, and the buffers from which it takes its images and labels."""

    def __init__(self, capturer: Capturer, step: Step, batches: tuple[Batch | None, ...]) -> None:
        self.batches = [
            batch and batch.part(batch.images.clone(), batch.labels.clone()) for batch in batches
        ]
        self._repeat, self.result = capturer.capture(lambda: step(*self.batches))

    def takes(self, batches: tuple[Batch | None, ...]) -> bool:
        """Whether these are of the size that was captured."""
        return _sizes(self.batches) == _sizes(batches)

    def is_larger(self, batches: tuple[Batch | None, ...]) -> bool:
        """Whether what was captured has more images than these."""
        pairs = zip(self.batches, batches, strict=True)
        return any(own and given and own.total > given.total for own, given in pairs)

    def replay(self, batches: tuple[Batch | None, ...]) -> object:
        for own, given in zip(self.batches, batches, strict=True):
            if own is not None and given is not None:
                own.images.copy_(given.images)
                own.labels.copy_(given.labels)
        self._repeat()
        return self.result


def _sizes(batches: Iterable[Batch | None]) -> list[Hashable]:
    return [batch and (batch.images.shape, batch.total) for batch in batches]


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

    def capture(self, call: Call) -> tuple[Call, object]:
        graph = torch.cuda.CUDAGraph()
        # Other threads, as those that decode images, may go on meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = call()
        return graph.replay, result

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
