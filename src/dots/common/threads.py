"""How threads wait, and how many this machine has room for. It runs before PyTorch is loaded.

Threads that wait for each other by spinning starve each other as soon as anything else runs:
each takes the processor from the one that it waits for.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NUMBERS = 32_768
"""Of a map, for each thread: with fewer, waking a thread takes about as long as its work."""


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, where the user has not said otherwise.

    OpenMP reads the variable as PyTorch is loaded: afterwards it would change nothing.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def processors(root: Path = Path("/")) -> int:
    """Processors that this process may use: its affinity, and the quota of its control groups.

    A part of a processor counts as one. `root` is where /proc and /sys are.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, *(math.ceil(quota) for quota in _quotas(root)), count))


def fit_machine(processes: int = 1) -> None:
    """Give PyTorch no more threads than processors, shared by so many processes of a run.

    PyTorch itself heeds the affinity, but no quota. What OMP_NUM_THREADS says is kept.
    """
    _lower_threads(processors() // processes)


@contextmanager
def fit_maps(numbers: int) -> Iterator[None]:
    """No more threads than pay for maps of so many numbers, for the time of the block.

    It depends on nothing that changes from run to run, such as the load, since some of
    PyTorch's sums depend on the number of threads. What OMP_NUM_THREADS says is kept.
    """
    import torch

    before = torch.get_num_threads()
    _lower_threads(numbers // NUMBERS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lower_threads(most: int) -> None:
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), most)))


def _quotas(root: Path) -> Iterator[float]:
    """Processors that each control group above this process allows, version 1 or 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):  # in a container the path may be its host's
            if folder.is_relative_to(top):
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (folder / "cpu.max").exists():
            words = (folder / "cpu.max").read_text().split()
        else:
            files = (folder / f"cpu.cfs_{part}_us" for part in ("quota", "period"))
            words = [file.read_text() for file in files]
        quota, period = map(float, words)
    except (OSError, ValueError):  # none here, or "max"
        return
    if quota > 0 and period > 0:
        yield quota / period
