"""What captures a step on the CPU as a CUDA graph does: numbers as they were, memory that stays.

The calls of a step are recorded as they are dispatched, with the tensors that they were given.
To repeat them is to compute them again from these tensors into these tensors: nothing of the
step's Python runs, and a number that it held is the one of the recording. Nothing of the
recording itself remains, as a capture computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from dots.training.graphs import Captured

Call = Callable[[], object]
RESHAPES = ("squeeze_", "unsqueeze_", "t_", "transpose_", "detach_", "as_strided_")
"""What changes a tensor but not its memory: the next calls are given its alias, as it is then."""


class RecordingCapturer:
    """Counts what was asked of it."""

    def __init__(self) -> None:
        self.asides = self.captures = self.replays = self.recovered = 0
        self.pools: list[Any] = []
        """What each capture was given."""
        self.error: Exception | None = None
        """What a capture raises."""

    def aside(self, call: Call) -> object:
        self.asides += 1
        return call()

    def recover(self) -> None:
        self.recovered += 1

    def capture(self, call: Call, pool: Any = None) -> Captured:
        if self.error is not None:
            raise self.error
        self.captures += 1
        self.pools.append(pool)
        random, recording = torch.get_rng_state(), _Recording()
        with recording:
            result = call()
        torch.set_rng_state(random)
        recording.undo()

        def repeat() -> None:
            self.replays += 1
            recording.repeat()

        return Captured(repeat, result, f"pool {self.captures}")


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor | None]]] = []
        """A function, what it was given, and where its results go, where they are new memory."""
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        """Memory that was changed: all of it, and what it held. It is kept, so that its address
        stays its own."""
        self._own: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.namespace == "profiler":  # of no device
            return function(*args, **kwargs)
        if function.__name__.split(".")[0] in RESHAPES:
            return function(*args, **kwargs)
        given = _tensors((args, kwargs))
        # Batch norms change their statistics, and their schema does not say so.
        mutable = function._schema.is_mutable or "batch_norm" in function.__name__
        if mutable:
            for tensor in given:
                if _place(tensor) not in self._own and _place(tensor) not in self._before:
                    whole = _whole(tensor)
                    self._before[_place(tensor)] = whole, whole.clone()
        result = function(*args, **kwargs)
        places = set(map(_place, given))
        args, kwargs = tree_map_only(Tensor, Tensor.detach, (args, kwargs))
        results = [None if _place(t) in places else t.detach() for t in _tensors(result)]
        self._own.update({_place(t): t for t in results if t is not None})
        if mutable or any(t is not None for t in results):
            self._calls.append((function, args, kwargs, results))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        for whole, value in self._before.values():
            whole.copy_(value)

    @torch.no_grad()
    def repeat(self) -> None:
        for function, args, kwargs, results in self._calls:
            for place, value in zip(results, _tensors(function(*args, **kwargs)), strict=True):
                if place is not None:
                    place.copy_(value)


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _whole(tensor: Tensor) -> Tensor:
    """All numbers of a tensor's memory."""
    storage = tensor.untyped_storage()
    count = storage.nbytes() // tensor.element_size()
    return tensor.detach().as_strided((count,), (1,), 0)
