"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class lazy(property, Generic[T]):  # noqa: N801  # a decorator, as `property` is
    """`functools.cached_property` as a property, which every torch.compile can look into.

    Those of PyTorch 2.5 and Python 3.11 take neither other descriptors nor its lock. The value
    stands in the instance under the name with an underscore before it.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        name = f"_{make.__name__}"

        def get(instance: Any) -> T:
            if not hasattr(instance, name):
                object.__setattr__(instance, name, make(instance))  # it may be frozen
            value: T = getattr(instance, name)
            return value

        super().__init__(get)
        self.__doc__ = make.__doc__

    if TYPE_CHECKING:  # what `property` does, with the types

        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Self: ...

        @overload
        def __get__(self, instance: object, owner: type | None = None) -> T: ...

        def __get__(self, instance: object | None, owner: type | None = None) -> Any: ...
