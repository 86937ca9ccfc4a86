"""One torch thread: two collapse when anything else runs on the machine. Triton interpreted.

With `--ulp` every random input and every initial weight is moved by one unit in the last place:
a test whose verdict changes asserts what rounding decides.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when PyTorch or a test first loads Triton

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.killing import QUICKEST, Killer

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option `--ulp`."""
    parser.addoption("--ulp", action="store_true", help="Move inputs and weights by one ulp.")


def pytest_configure(config: pytest.Config) -> None:
    """Perturb what `torch.randn` and the layers' initialisation draw."""
    if config.getoption("--ulp"):
        torch.randn = _drawn(torch.randn)
        for layer in (nn.Conv2d, nn.Linear):
            layer.reset_parameters = _initialised(layer.reset_parameters)


@pytest.fixture(scope="session")
def killer() -> Iterator[Killer]:
    """The server of runs in processes of their own, started once."""
    with Killer() as server:
        yield server


@pytest.fixture(scope="session")
def undisturbed(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A finished run with QUICKEST that nothing happened to, and its seconds; take copies."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    end = killer.run("run", "digits", "--out", str(out), *QUICKEST)
    assert end.status == 0, end.said
    return out, end.seconds


def _upwards(tensor: Tensor) -> Tensor:
    return torch.nextafter(tensor, torch.full_like(tensor, torch.inf))


def _drawn(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(draw)
    def moved(*sizes: Any, **options: Any) -> Tensor:
        wanted = options.pop("requires_grad", False)
        return _upwards(draw(*sizes, **options)).requires_grad_(wanted)

    return moved


def _initialised(reset: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
    @wraps(reset)
    def moved(layer: nn.Module) -> None:
        reset(layer)
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                parameter.copy_(_upwards(parameter))

    return moved
