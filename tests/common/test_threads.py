"""How threads wait, and how many there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dots.cli.app import run
from dots.common import threads


def said_by_openmp(code: str, **variables: str) -> str:
    """What PyTorch's own OpenMP shows of its settings as it is loaded, after `code`."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import torch"],
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("this PyTorch has no OpenMP that tells its settings")
    return done.stderr


@pytest.mark.parametrize("code", ["import dots", "from dots.cli.app import app"])
def test_threads_wait_by_sleeping(code: str) -> None:
    said = said_by_openmp(code)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said
    assert "GOMP_SPINCOUNT" not in said or "GOMP_SPINCOUNT = '0'" in said


def test_what_the_user_set_is_kept() -> None:
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in said_by_openmp("import dots", OMP_WAIT_POLICY="ACTIVE")


def test_once_pytorch_is_loaded_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would change nothing here, but what other processes inherit."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    threads.wait_passively()
    assert "OMP_WAIT_POLICY" not in os.environ


FILES = {
    "no groups": ({}, 8),
    "version 2, no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 1"}, 8),
    "version 2": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"},
        3,
    ),
    "version 2, of a parent": (
        {
            "proc/self/cgroup": "0::/jobs/one\n",
            "sys/fs/cgroup/jobs/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/jobs/one/cpu.max": "max 100000\n",
        },
        2,
    ),
    "version 1, in a container": (
        {
            "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/docker/a\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        1,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": "3:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        8,
    ),
    "more than there are": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"},
        8,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_processors_are_those_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files, expected = FILES[name]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert threads.processors(tmp_path) == expected


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """PyTorch as on a machine of eight processors; the last is how many threads it has."""
    monkeypatch.setattr(threads, "processors", lambda: 8)
    counts = [8]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


@pytest.mark.parametrize(("processes", "expected"), [(1, 6), (2, 3), (9, 1)])
def test_processes_of_a_run_share_the_processors(
    eight: list[int], monkeypatch: pytest.MonkeyPatch, processes: int, expected: int
) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 6)
    threads.fit_machine(processes)
    assert eight[-1] == expected


@pytest.mark.parametrize(("numbers", "expected"), [(1, 1), (80_000, 2), (10**7, 8)])
def test_small_maps_take_few_threads(eight: list[int], numbers: int, expected: int) -> None:
    with threads.fit_maps(numbers):
        assert eight[-1] == expected
    assert eight[-1] == 8


def test_the_number_that_the_user_set_is_kept(
    eight: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    threads.fit_machine(8)
    with threads.fit_maps(1):
        assert eight[-1] == 8


def test_a_run_has_as_many_threads_as_its_maps_pay_for(eight: list[int], tmp_path: Path) -> None:
    """128 images of 8 × 8 digits, 8 channels: 65,536 numbers, on two threads; then all again."""
    words = ["search", "digits", "--preset", "tiny", "--dry-run", "--quiet", "--device", "cpu"]
    words += ["--batch", "128"]
    assert run([*words, "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/environment.json").read_text())["threads"] == 2
    assert eight[-1] == 8
