"""OLES (Jiang et al., NeurIPS 2023): an operation stops to learn once it overfits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks.supernet import Supernet


class OperationEarlyStopping:
    """Freezes the weights of operations whose training and validation gradients disagree.

    Every operation of every edge of every cell is watched by itself. The gradient that a step
    of α finds for its weights (half B) is compared with that of the last step of w (half A);
    after `steps` comparisons an operation whose mean similarity is below `least` never moves
    again. α of a frozen operation goes on learning. A new supernet (progressive methods) is
    watched from the beginning.
    """

    def __init__(self, supernet: Supernet, least: float, steps: int) -> None:
        self.least = least
        self.steps = steps
        self.operations = list(_with_weights(supernet))
        self.stopped = [False] * len(self.operations)
        device = next(supernet.parameters()).device
        self.totals = torch.zeros(len(self.operations), device=device)
        """Sums of similarities [operations], and how many there are of each."""
        self.compared_steps = [0] * len(self.operations)
        self.count = 0

    def learning(self, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
        """Those of `parameters` that are not frozen."""
        watched = zip(self.operations, self.stopped, strict=True)
        frozen = {id(p) for op, stopped in watched if stopped for p in op.parameters()}
        return [p for p in parameters if id(p) not in frozen]

    @contextmanager
    def compared(self) -> Iterator[None]:
        """While entered the gradient of a step of α is taken; afterwards it is compared."""
        trained = [[p.grad for p in op.parameters()] for op in self.operations]
        yield
        rows = [
            agreement(before, [p.grad for p in op.parameters()])
            for op, before in zip(self.operations, trained, strict=True)
        ]
        if all(row is None for row in rows):  # before the first step of w
            return
        nothing = self.totals.new_zeros(())
        self.totals += torch.stack([nothing if row is None else row.to(nothing) for row in rows])
        for place, row in enumerate(rows):
            self.compared_steps[place] += row is not None
        self.count += 1
        if self.count == self.steps:
            self._decide()

    def _decide(self) -> None:
        """Freeze what overfits, and begin to count anew. Waits for the device once."""
        sums = zip(self.totals.tolist(), self.compared_steps, strict=True)
        for place, (total, count) in enumerate(sums):
            if count and total / count < self.least:
                self.stopped[place] = True
                for parameter in self.operations[place].parameters():
                    parameter.grad = None  # SGD leaves alone what has no gradient
        self.totals.zero_()
        self.compared_steps = [0] * len(self.operations)
        self.count = 0

    def state(self) -> dict[str, Any]:
        """With the gradients of the last step of w, which the next step of α looks at."""
        gradients = {
            f"{place}.{name}": parameter.grad.clone()
            for place, op in enumerate(self.operations)
            for name, parameter in op.named_parameters()
            if parameter.grad is not None
        }
        return {
            "stopped": list(self.stopped),
            "totals": self.totals.clone(),
            "compared_steps": list(self.compared_steps),
            "count": self.count,
            "gradients": gradients,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.stopped, self.count = list(state["stopped"]), state["count"]
        self.totals.copy_(state["totals"])
        self.compared_steps = list(state["compared_steps"])
        for place, op in enumerate(self.operations):
            for name, parameter in op.named_parameters():
                gradient = state["gradients"].get(f"{place}.{name}")
                parameter.grad = None if gradient is None else gradient.to(parameter)


def agreement(one: list[Tensor | None], other: list[Tensor | None]) -> Tensor | None:
    """The cosine along dimension 0, mean over the other dimensions and then over the tensors.

    0-d; None where no tensor has a gradient in both.
    """
    pairs = zip(one, other, strict=True)
    found = [
        F.cosine_similarity(a, b, dim=0).mean() for a, b in pairs if a is not None and b is not None
    ]
    return torch.stack(found).mean() if found else None


def _with_weights(supernet: Supernet) -> Iterator[nn.Module]:
    """The operations of all edges that have weights."""
    for module in supernet.modules():
        operations = getattr(module, "operations", None)
        if isinstance(operations, nn.ModuleList):
            yield from (op for op in operations if next(op.parameters(), None) is not None)
