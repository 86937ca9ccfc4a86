"""Seconds of a run with each number of threads and way of waiting, alone and beside busy processes.

    python benchmarks/threads.py [--repeats 3] [--words "run digits --preset tiny"]

Runs take turns, each a process of its own with a run directory of its own. "default" is what
DOTS does when nothing is set. Beside as many processes as there are processors, which do
nothing but count, it should take at most 1.5 times as long as the best; alone, 1.05 times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median

from comparing import Times, alternate, machine, parser, spread, verdict
from dots.common.threads import processors

TARGETS = {"alone": 1.05, "loaded": 1.5}
SET = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS")
SPINNING = {"GOMP_SPINCOUNT": "300000"}
"""What GNU's OpenMP does where nothing says how to wait."""


def ways(most: int) -> dict[str, dict[str, str]]:
    """The environment of each way to run."""
    found: dict[str, dict[str, str]] = {"default": {}}
    for threads in dict.fromkeys((1, most)):
        for waiting, variables in {"passive": {}, "spinning": SPINNING}.items():
            if threads > 1 or waiting == "passive":
                found[f"{threads} {waiting}"] = {"OMP_NUM_THREADS": str(threads), **variables}
    return found


def run_once(words: Sequence[str], variables: Mapping[str, str]) -> None:
    """One run, in a place that is gone afterwards."""
    kept = {name: value for name, value in os.environ.items() if name not in SET}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dots", *words, "--quiet", "--out", f"{folder}/run"]
        subprocess.run(command, env={**kept, **variables}, check=True, capture_output=True)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that only count."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def print_table(load: str, times: Times) -> None:
    """Medians, the ratio of each to the best, and whether the default keeps to its target."""
    best = min(map(median, times.values()))
    print(f"\n  {load}: seconds (minimum / median / maximum), ratio to the best")
    for way, seconds in times.items():
        ratio = median(seconds) / best
        end = f"; {verdict(ratio, TARGETS[load])}" if way == "default" else ""
        print(f"  {way:>12}: {spread(seconds, 1)}, {ratio:.2f}{end}", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    made = parser(__doc__, repeats=3)
    made.add_argument("--words", default="run digits --preset tiny", help="(%(default)s)")
    options = made.parse_args(words)
    count = processors()
    print(f"{machine()}, {count} processors for this process: dots {options.words}", flush=True)
    runs = {
        way: partial(run_once, options.words.split(), variables)
        for way, variables in ways(count).items()
    }
    for load, others in {"alone": 0, "loaded": count}.items():
        with busy(others):
            times = alternate(runs, options)
        print_table(load, times)


if __name__ == "__main__":
    main()
