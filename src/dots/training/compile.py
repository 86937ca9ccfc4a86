"""Networks through `torch.compile`, where that works on this machine.

The compiler takes the stock modules (`fast` kernels are functions it cannot look into). What it
cannot compile runs as it is, after one line that says why: an option may not end a run.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

METHODS = ("forward", "forward_with_auxiliary")
"""What the stages call of a network."""


class Compiler:
    """Compiles networks until something cannot be compiled; `say` is told of that once."""

    def __init__(self, device: torch.device, say: Callable[[str], None]) -> None:
        self.say = say
        self.works = True
        self._try_out(device)

    def __call__(self, network: nn.Module) -> None:
        """From now on the methods of `network` are compiled when they are first called."""
        if not self.works:
            return
        for name in METHODS:
            plain = getattr(type(network), name, None)
            if plain is not None:  # of this network, and bound to it: a copy's to the copy
                object.__setattr__(network, name, MethodType(self._guarded(plain), network))

    def _try_out(self, device: torch.device) -> None:
        """Compile a small convolution and its gradient: is there a compiler at all?"""
        weight = torch.ones(2, 2, 3, 3, device=device, requires_grad=True)

        def small(images: torch.Tensor) -> torch.Tensor:
            return F.conv2d(images, weight, padding=1).relu().sum()

        loss = self._guarded(small)(torch.ones(1, 2, 4, 4, device=device))
        if self.works:
            try:
                loss.backward()
            except Exception as error:  # whatever a missing compiler leads to
                self._give_up(error)

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        from torch._dynamo.exc import TorchDynamoException

        compiled = torch.compile(method)

        def call(*inputs: Any) -> Any:
            if self.works:
                try:
                    return compiled(*inputs)
                except TorchDynamoException as error:
                    self._give_up(error)
            return method(*inputs)

        return call

    def _give_up(self, error: Exception) -> None:
        self.works = False
        lines = str(error).strip().splitlines() or [type(error).__name__]
        self.say(f"torch.compile does not work here, so networks run uncompiled: {lines[0][:200]}")
