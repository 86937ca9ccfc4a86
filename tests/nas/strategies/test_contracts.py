"""Every strategy of the package keeps to the contract."""

from __future__ import annotations

import pytest

from dots.common.errors import UserError
from dots.nas.strategies import STRATEGIES, find_strategy
from dots.testing import StrategyContract
from helpers import contracts


class TestStrategy(StrategyContract):
    @pytest.fixture(autouse=True, params=STRATEGIES)
    def _each(self, request: pytest.FixtureRequest) -> None:
        self.strategy = STRATEGIES[request.param]
        self.method = contracts.QUICK.get(request.param, {})


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_is_found_by_its_name(name: str) -> None:
    assert STRATEGIES[name].name == name
    assert find_strategy(name) is STRATEGIES[name]


def test_an_unknown_name_is_a_user_error() -> None:
    with pytest.raises(UserError, match="did you mean 'gdas'"):
        find_strategy("gads")
