"""What operations cost is counted once for each space, shape and size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dots.nas.budget.cost_table import CostTable, counted_tables
from dots.nas.strategies.shared import expected_operations
from dots.networks.body import Shape
from dots.space.search_space import SearchSpace

SLOW = ("[shapley-nas-three nodes]", "[shapley-nas-without Zero]")
"""A batch for each of some seventy operations that it removes; five other spaces are quick."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes a minute."""
    for item in items:
        if item.name.endswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _counted_once() -> Iterator[None]:
    """A SNAS counts, and tests build many; the counts themselves are tested with the budget."""
    known: dict[str, tuple[CostTable, CostTable]] = {}

    def counted(space: SearchSpace, shape: Shape, size: int) -> tuple[CostTable, CostTable]:
        key = repr((space, shape, size))  # spaces have no hash
        if key not in known:
            known[key] = counted_tables(space, shape, size)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expected_operations, "counted_tables", counted)
        yield
