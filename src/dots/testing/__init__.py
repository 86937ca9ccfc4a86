"""Contract suites for what comes from outside: subclass one in a test file of your own.

Needs pytest. `pytest` collects a subclass whose name begins with "Test".
"""

from dots.testing.operations import OperationContract
from dots.testing.spaces import SpaceContract
from dots.testing.strategies import StrategyContract

__all__ = ["OperationContract", "SpaceContract", "StrategyContract"]
