from __future__ import annotations

from pathlib import Path

import pytest

from helpers import exported_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small network with every operation."""
    return exported_run.make_run(tmp_path_factory.mktemp("export") / "run")
