"""What the benchmarks share: taking turns in one process, ratios, and what is printed of them.

Nothing heavy is imported with this file: the processes of `memory.py` start from a light one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

Run = Callable[[], object]
Times = dict[str, list[float]]
"""Seconds of each turn, by what was run."""


def parser(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--repeats", type=int, default=repeats, help="turns of each (%(default)s)")
    made.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="one measurement for each number"
    )
    made.add_argument(
        "--cpu-time",
        action="store_true",
        help="seconds of the processor instead of the clock: what else runs disturbs them less",
    )
    return made


def add_sizes(made: argparse.ArgumentParser, *, channels: int, cells: int, batch: int) -> None:
    """Options for the sizes of a network and its batch, which default to the paper's."""
    for name, default in {"channels": channels, "cells": cells, "batch": batch, "size": 32}.items():
        made.add_argument(f"--{name}", type=int, default=default, help="(%(default)s)")


def sized(
    description: str | None,
    words: Sequence[str] | None,
    *,
    channels: int,
    cells: int,
    batch: int,
) -> argparse.Namespace:
    """The options of a benchmark of a step."""
    made = parser(description, repeats=5)
    add_sizes(made, channels=channels, cells=cells, batch=batch)
    return made.parse_args(words)


def compare(
    title: str, runs: Mapping[str, Run], options: argparse.Namespace, targets: Mapping[str, float]
) -> None:
    """Time the runs with each number of threads, and print the ratios of the first to the others.

    `targets` as for `print_ratios`.
    """
    print(title)
    for _ in each_thread_count(options):
        print_ratios(alternate(runs, options), targets)


def each_thread_count(options: argparse.Namespace) -> Iterator[int]:
    """Set the numbers of threads that were asked for, one after the other; says which."""
    import torch

    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{machine()}, {threads} thread(s), {_clock_name(options)}", flush=True)
        yield threads


def machine() -> str:
    """The processor, its cores, and the versions that matter."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, PyTorch {version('torch')}"
    )


def _clock_name(options: argparse.Namespace) -> str:
    return "processor time" if options.cpu_time else "time of the clock"


def alternate(runs: Mapping[str, Run], options: argparse.Namespace, warmup: int = 1) -> Times:
    """Let the runs take turns, `warmup` of them uncounted."""
    clock = process_time if options.cpu_time else perf_counter
    times: Times = {name: [] for name in runs}
    for turn in range(warmup + options.repeats):
        for name, run in runs.items():
            start = clock()
            run()
            if turn >= warmup:
                times[name].append(clock() - start)
    return times


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Minimum / median / maximum."""
    return " / ".join(f"{v:.{digits}f}" for v in (min(values), median(values), max(values)))


def verdict(value: float, target: float, unit: str = "") -> str:
    """The target, and whether `value` is at most that."""
    met = "met" if value <= target else "not met"
    return f"target at most {target:g}{unit}: {met}"


def print_ratios(times: Times, targets: Mapping[str, float]) -> None:
    """All times, and the ratios of the first of `times` to the others, turn by turn.

    `targets` names the others whose ratio has a target, which the median should keep to.
    """
    width = max(map(len, times))
    for name, seconds in times.items():
        print(f"  {name:>{width}}: {spread(seconds)} s (minimum / median / maximum)")
    first, *others = times
    for other in others:
        ratios = [a / b for a, b in zip(times[first], times[other], strict=True)]
        end = f"; {verdict(median(ratios), targets[other])}" if other in targets else ""
        print(f"  {first} / {other}: {spread(ratios)}{end}", flush=True)


def in_a_process(script: str, request: Any, threads: int) -> Any:
    """What `script --one REQUEST` prints, both JSON, from a process of its own."""
    command = [sys.executable, script, "--one", json.dumps(request)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment, check=True
    )  # its errors are shown as they come
    return json.loads(done.stdout)
