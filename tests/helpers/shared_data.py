"""Where the real data for tests lie, when they are there at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The path of a shared data file or folder; skips the test where it is absent."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    root = Path(os.environ.get("DOTS_SHARED_DATA", beside))
    path = root / name
    if not path.exists():
        pytest.skip(f"no {name!r} in {root}: set DOTS_SHARED_DATA to the folder that holds it")
    return path
