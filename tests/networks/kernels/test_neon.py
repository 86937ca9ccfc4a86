"""The kernels for ARM, cross-compiled and emulated, beside plain loops (plain_loops.cpp)."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from dots.networks.kernels import native
from dots.networks.kernels.native import build

CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
PLAIN_LOOPS = Path(__file__).with_name("plain_loops.cpp")
LANES = build.VARIANTS["arm"]["kernels-neon.so"]


def compare(compiler: str, runner: tuple[str, ...], place: Path) -> str:
    """What the comparison says. OpenMP is linked, which the kernels find by name."""
    sources = [str(native.HERE / name) for name in build.SOURCES]
    flags = [*build.FLAGS, *LANES, '-DSOURCES="here"', "-fopenmp", "-Wl,--no-as-needed", "-fPIE"]
    command = [compiler, *flags, *sources, str(PLAIN_LOOPS), "-o", str(place / "compare")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    done = subprocess.run(
        [*runner, str(place / "compare")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which(CROSS) and shutil.which(EMULATOR)), reason=f"needs {CROSS} and {EMULATOR}"
)
def test_kernels_for_arm_are_right_where_they_are_emulated(tmp_path: Path) -> None:
    said = compare(CROSS, (EMULATOR, "-L", "/usr/aarch64-linux-gnu"), tmp_path)
    assert said == "4 lanes, 0 differences\n"


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("c++") or platform.system() != "Linux", reason="needs c++ on Linux"
)
def test_four_lanes_are_right_on_this_processor(tmp_path: Path) -> None:
    assert compare("c++", (), tmp_path) == "4 lanes, 0 differences\n"


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_arm_builds_and_uses_a_library_of_its_own(
    monkeypatch: pytest.MonkeyPatch, machine: str, system: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("platform.system", lambda: system)
    assert list(build.variants()) == ["kernels-neon.so"]
    assert native.runnable() == ("NEON",)
    assert native.LIBRARIES["NEON"] == "kernels-neon.so"
    assert "-fopenmp" not in build.FLAGS  # which Apple's compiler does not know
