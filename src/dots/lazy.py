"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801  # a decorator, as `property` is
    """`functools.cached_property` without its lock (Python 3.11), which torch.compile cannot take.

    The value replaces the descriptor in the instance.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make = make
        self.name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value = self.make(instance)
        instance.__dict__[self.name] = value
        return value
