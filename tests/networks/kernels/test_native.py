"""The library of kernels in C++: sums of maps, and what happens where it cannot be used."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.networks.kernels import native
from dots.networks.kernels.native import build
from dots.networks.kernels.node_sum import Term, combine
from dots.runs import environment
from helpers.native_kernels import KINDS, kernels

__all__ = ["kernels"]  # a fixture

once = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
shapes = st.tuples(
    st.integers(1, 5), st.integers(1, 700), st.sampled_from([1, 2, 3, 8, 16, 17, 36, 50, 64])
)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def maps_of(shape: tuple[int, ...], count: int) -> list[Tensor]:
    torch.manual_seed(sum(shape))
    return [torch.randn(shape) + 0.5 for _ in range(count)]


@once
@given(shape=shapes)
def test_moments(kernels: native.Kernels, shape: tuple[int, ...]) -> None:
    (z,) = maps_of(shape, 1)
    mean, variance = kernels.moments(z)
    rows = z.double().flatten(0, 1)
    torch.testing.assert_close(mean, rows.mean(0), **CLOSE)
    torch.testing.assert_close(variance, rows.var(0, unbiased=False), **CLOSE)


def test_a_variance_that_is_small_beside_the_mean_is_precise(kernels: native.Kernels) -> None:
    """E[z²] - E[z]² in float32 would have no digit right."""
    z = 1000 + 0.01 * torch.randn(4, 1024, 16)
    expected = z.double().flatten(0, 1).var(0, unbiased=False)
    torch.testing.assert_close(kernels.moments(z)[1], expected, rtol=1e-4, atol=0)


@once
@given(shape=shapes, count=st.integers(1, 4), begun=st.booleans())
def test_sums_of_scaled_maps(
    kernels: native.Kernels, shape: tuple[int, ...], count: int, begun: bool
) -> None:
    total, *maps = maps_of(shape, count + 1)
    factors, offset = torch.randn(count, shape[2]), torch.randn(shape[2])
    expected = sum((f * z for f, z in zip(factors, maps, strict=True)), offset + begun * total)
    found = kernels.add_scaled(total if begun else None, maps, factors, offset)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert (found is total) == begun


@once
@given(shape=shapes, count=st.integers(1, 4))
def test_sums_of_a_gradient(kernels: native.Kernels, shape: tuple[int, ...], count: int) -> None:
    gradient, *maps = maps_of(shape, count + 1)
    total, products = kernels.channel_products(gradient, maps)
    torch.testing.assert_close(total, gradient.double().sum((0, 1)), rtol=1e-5, atol=1e-3)
    for found, z in zip(products, maps, strict=True):
        expected = (gradient.double() * z).sum((0, 1))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


@once
@given(shape=shapes, count=st.integers(1, 4))
def test_gradients_of_maps(kernels: native.Kernels, shape: tuple[int, ...], count: int) -> None:
    gradient, *maps = maps_of(shape, count + 1)
    factors, slopes, shifts = torch.randn(3, count, shape[2])
    wanted = [index != 1 for index in range(count)]
    found = kernels.map_gradients(gradient, maps, factors, slopes, shifts, wanted)
    for index, z in enumerate(maps):
        if not wanted[index]:
            assert found[index] is None
            continue
        expected = factors[index] * gradient + slopes[index] * z + shifts[index]
        torch.testing.assert_close(found[index], expected, **CLOSE)


def test_a_node_is_the_same_with_and_without(
    kernels: native.Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, all gradients and running statistics of normed maps, to float32's rounding."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(20, affine=affine) for affine in (True, False, True)]
    maps = [torch.randn(6, 20, 9, 7, requires_grad=True) for _ in norms]
    weights = [torch.tensor(float(i + 1), requires_grad=True) for i in range(len(norms))]
    inputs = [*maps, *weights, *(p for norm in norms for p in norm.parameters())]
    direction = torch.randn(6, 20, 9, 7)
    results = []
    for found in (kernels, None):
        monkeypatch.setattr(native, "kernels", lambda found=found: found)
        mine = copy.deepcopy(norms)
        own = iter(p for norm in mine for p in norm.parameters())
        given_ = [*maps, *weights, *own]
        terms = [
            Term(*row, norm=norm) for row, norm in zip(_rows(maps, weights), mine, strict=True)
        ]
        y = combine(terms, fast=True)
        gradients = torch.autograd.grad(y, given_, direction)
        results.append([y, *gradients, *(b for norm in mine for b in norm.buffers())])
    assert len(results[0]) == 1 + len(inputs) + 9
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def _rows(maps: list[Tensor], weights: list[Tensor]) -> list[tuple[Tensor, Tensor, None]]:
    return [(z, weight, None) for z, weight in zip(maps, weights, strict=True)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a fresh process looks for its library."""
    monkeypatch.setattr(native, "HERE", tmp_path)
    monkeypatch.delenv(native.CHOICE, raising=False)
    native.kernels.cache_clear()
    yield tmp_path
    native.kernels.cache_clear()


def _copy_all(folder: Path) -> None:
    """The sources, and the libraries that were built of them."""
    here = Path(native.__file__).parent
    built = (native.LIBRARIES[kind] for kind in KINDS)
    for name in (*built, *build.SOURCES, *build.HEADERS):
        shutil.copy(here / name, folder)


def test_without_a_library_there_are_no_kernels(folder: Path) -> None:
    assert native.kernels() is None
    assert native.kind() == "none"
    assert native.kernels_for(torch.zeros(1)) is None


def test_a_library_that_does_not_load_is_not_used(folder: Path) -> None:
    for name in native.LIBRARIES.values():
        (folder / name).write_bytes(b"\x7fELF, but no more")
    assert native.kernels() is None


@pytest.mark.skipif(not KINDS, reason="no kernels were built")
def test_the_best_library_for_the_processor_is_used(folder: Path) -> None:
    _copy_all(folder)
    assert native.kernels() is not None
    assert native.kind() == KINDS[0] == environment.collect([])["kernels"]
    assert native.kernels_for(torch.zeros(1), torch.zeros(1, dtype=torch.float64)) is None
    with torch.autocast("cpu"):
        assert native.kernels_for(torch.zeros(1)) is None


@pytest.mark.parametrize("choice", [*KINDS, "none"])
def test_other_kernels_can_be_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    _copy_all(folder)
    monkeypatch.setenv(native.CHOICE, choice.lower())
    assert native.kind() == choice == environment.collect([])["kernels"]


@pytest.mark.parametrize("choice", ["sse", "none "])
def test_kernels_that_do_not_exist_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    monkeypatch.setenv(native.CHOICE, choice)
    with pytest.raises(UserError, match=rf"DOTS_KERNELS='{choice}': on this processor choose of"):
        native.kernels()


@pytest.mark.skipif(not native.runnable(), reason="no kernels can be used here")
def test_chosen_kernels_that_were_not_built_are_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.CHOICE, native.runnable()[0])
    with pytest.raises(UserError, match=r"build them by 'python -m dots\.networks"):
        native.kernels()


@pytest.mark.skipif(not KINDS, reason="no kernels were built")
def test_a_library_of_other_sources_is_not_used(folder: Path) -> None:
    """As after an update of a checkout that was not built anew."""
    _copy_all(folder)
    with (folder / build.SOURCES[0]).open("a") as source:
        source.write("// changed\n")
    assert native.kernels() is None
    with pytest.raises(OSError, match="was built from other sources"):
        native.Kernels(folder / native.LIBRARIES[KINDS[0]])


@pytest.mark.skipif(not KINDS, reason="no kernels can be built or used here")
@pytest.mark.slow
def test_building_anew_gives_the_libraries(tmp_path: Path) -> None:
    for name in (*build.SOURCES, *build.HEADERS):
        shutil.copy(native.HERE / name, tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    assert set(build.build(tmp_path)) == set(build.variants())
    assert {path.name for path in tmp_path.iterdir()} == before | set(build.variants())
    native.Kernels(tmp_path / native.LIBRARIES[KINDS[0]])


@pytest.mark.skipif(os.name != "posix", reason="nothing is built elsewhere")
@pytest.mark.parametrize("compiler", ["/nowhere/c++", "false"])
@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_without_a_compiler_nothing_is_built_and_a_line_says_so(
    machine: str,
    compiler: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr("platform.machine", lambda: machine)
    for name in (*build.SOURCES, *build.HEADERS):
        shutil.copy(native.HERE / name, tmp_path)
    before = list(tmp_path.iterdir())
    assert build.build(tmp_path) == ()
    assert list(tmp_path.iterdir()) == before
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" was not built: ")[0] for line in lines] == list(build.variants())


@pytest.mark.skipif(not KINDS or sys.platform != "linux", reason="no kernels, or no /proc")
def test_the_threads_are_those_of_pytorch_s_openmp() -> None:
    """A call with three threads starts two, which the calls after it and PyTorch use again."""
    code = (
        "import os, torch\n"
        "from dots.networks.kernels import native\n"
        "torch.set_num_threads(3)\n"
        "kernels, counts = native.kernels(), []\n"
        "for call in (lambda: None, lambda: kernels.moments(torch.ones(8, 64, 16)),\n"
        "             lambda: kernels.moments(torch.ones(8, 64, 16)),\n"
        "             lambda: torch.ones(10**6).exp()):\n"
        "    call()\n"
        "    counts.append(len(os.listdir('/proc/self/task')))\n"
        "print(*(count - counts[0] for count in counts))"
    )
    environment = {
        k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", native.CHOICE)
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 2 2 2\n"
