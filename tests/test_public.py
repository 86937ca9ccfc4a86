"""The names of the package itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import dots


@pytest.mark.parametrize("name", dots.__all__)
def test_a_public_name_is_itself_also_the_second_time(name: str) -> None:
    first, second = getattr(dots, name), getattr(dots, name)
    assert first is second
    assert callable(first) or name == "nn"
    root = Path(dots.__file__).parent  # a module of that name would take its place once imported
    assert not (root / f"{name}.py").exists()
    assert not (root / name).exists()


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'searches'"):
        dots.searches  # noqa: B018 - the access is what is tested


def test_the_room_for_own_models_has_a_short_name() -> None:
    import dots.nn

    from dots.nas import own_models

    assert dots.nn.search is own_models.search
    assert set(own_models.__all__) <= set(vars(dots.nn))
