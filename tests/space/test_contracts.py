"""Every space of the package keeps to the contract."""

from __future__ import annotations

import pytest

from dots.space.search_space import OURS, named_space
from dots.testing import SpaceContract


class TestSpace(SpaceContract):
    @pytest.fixture(autouse=True, params=OURS)
    def _each(self, request: pytest.FixtureRequest) -> None:
        self.space = named_space(request.param)
