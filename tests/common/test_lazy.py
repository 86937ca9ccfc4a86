"""Attributes that are computed once."""

from __future__ import annotations

from dataclasses import dataclass

from dots.common.lazy import lazy

computed: list[int] = []


@dataclass(frozen=True)
class Number:
    value: int

    @lazy
    def square(self) -> int:
        """Its square."""
        computed.append(self.value)
        return self.value**2


def test_each_instance_computes_its_own_once() -> None:
    computed.clear()
    two, three = Number(2), Number(3)
    assert (two.square, two.square, three.square) == (4, 4, 9)
    assert computed == [2, 3]
    assert two == Number(2)


def test_the_class_has_the_descriptor_with_its_words() -> None:
    assert isinstance(Number.square, lazy)
    assert Number.square.__doc__ == "Its square."
