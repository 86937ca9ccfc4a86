"""Stand-ins for `torch.compile`: a real compiler takes half a minute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Method = Callable[..., Any]


def counting(names: list[str]) -> Callable[[Method], Method]:
    """One that leaves a method as it is and notes the name of each that is called."""

    def compile_(method: Method) -> Method:
        def call(*inputs: Any) -> Any:
            names.append(method.__name__)
            return method(*inputs)

        return call

    return compile_


def refusing(message: str) -> Callable[[Method], Method]:
    """One that fails with `message` when a method is called, as where there is no compiler."""
    from torch._dynamo.exc import TorchDynamoException

    def compile_(method: Method) -> Method:
        def call(*inputs: Any) -> Any:
            raise TorchDynamoException(message)

        return call

    return compile_
