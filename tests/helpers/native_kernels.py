"""The kernels in C++ that this machine can run, for tests of each of them."""

from __future__ import annotations

import pytest
import torch

from dots.networks.kernels import native

RUNNABLE = {"AVX512": ("AVX512", "AVX2"), "AVX2": ("AVX2",)}
KINDS = [
    kind
    for kind in RUNNABLE.get(torch.backends.cpu.get_cpu_capability(), ())
    if (native.HERE / native.LIBRARIES[kind]).is_file()
]


@pytest.fixture(params=KINDS or [pytest.param("", marks=pytest.mark.skip("no kernels were built"))])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> native.Kernels:
    """Those of one processor after the other, in use."""
    found = native.Kernels(native.HERE / native.LIBRARIES[request.param])
    monkeypatch.setattr(native, "kernels", lambda: found)
    return found


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where none were built."""
    monkeypatch.setattr(native, "kernels", lambda: None)
