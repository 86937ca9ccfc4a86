"""The environment of processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path


def one_thread(**variables: str) -> dict[str, str]:
    """One thread a process, and the tests' helpers importable."""
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, places))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **variables}
