"""The kernels in C++ that this machine can run, for tests of each of them."""

from __future__ import annotations

import pytest

from dots.networks.kernels import native

KINDS = [kind for kind in native.runnable() if (native.HERE / native.LIBRARIES[kind]).is_file()]


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
