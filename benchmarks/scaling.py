"""Step time and peak memory of each stage against one size at a time: docs/scaling.md.

`python benchmarks/scaling.py [--quick]` prints Markdown. Each number is from a process of its
own, so that peaks do not add up. Times are the least of two steps after one that warms up: of
one core's time on the CPU (what else the machine does counts little), of the clock on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from typing import Any

from comparing import in_a_process

BASE: dict[str, Any] = {
    "batch": 16, "image_size": 32, "channels": 8, "cells": 5, "nodes": 4, "classes": 10,
}  # fmt: skip
STEPS: dict[str, list[Any]] = {
    "batch": [8, 16, 32, 64],
    "image_size": [16, 32, 64],
    "channels": [8, 16, 32],
    "cells": [3, 5, 8, 14],
    "nodes": [2, 3, 4, 5],
    "classes": [10, 100, 1000, 21841],
}
STAGES = ("operations", "topology", "train")
REPEATS = 2


@dataclass(frozen=True)
class Row:
    """One measurement: seconds of a step and peak bytes above the imports, by stage."""

    name: str
    value: Any
    seconds: dict[str, float]
    peak: dict[str, int]


def measure_here(sizes: dict[str, Any], stage: str) -> dict[str, Any]:
    """In a process of its own: seconds of a step, and the peak of memory it adds."""
    import torch

    from dots.data import DataInfo
    from dots.nas.plan import make_plan
    from dots.recipe import build_recipe
    from dots.runs.planning.memory_limit import peak_bytes
    from dots.runs.planning.trial_steps import alone, rehearse, settle

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = [f"nodes={sizes['nodes']}"]
    for name in STAGES:
        settings += [f"{name}.{key}={sizes[key]}" for key in ("batch", "channels", "cells")]
    names = tuple(map(str, range(sizes["classes"])))
    info = DataInfo("x", names, 3, sizes["image_size"], (0.5,) * 3, (0.25,) * 3, flip=True)
    plan = make_plan(build_recipe("small", overrides=settings))
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    before = peak_bytes(device)
    (rehearsal,) = rehearse(plan, info, alone(device), stages=(stage,))
    times = []
    for _ in range(1 + REPEATS):
        settle(device)
        began = clock()
        rehearsal.late(sizes["batch"])
        settle(device)
        times.append(clock() - began)
    return {"seconds": min(times[1:]), "peak": peak_bytes(device) - before}


def measure(name: str, value: Any) -> Row:
    """All stages at the base sizes but for one."""
    sizes = {**BASE, name: value}
    seconds, peak = {}, {}
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    for stage in STAGES:
        answer = in_a_process(__file__, [sizes, stage], threads)
        seconds[stage], peak[stage] = answer["seconds"], answer["peak"]
    return Row(name, value, seconds, peak)


def table(rows: list[Row]) -> str:
    """A Markdown table."""
    head = "| | " + " | ".join(f"{stage}, s | MiB" for stage in STAGES) + " |"
    lines = [head, "|---" * (1 + 2 * len(STAGES)) + "|"]
    for row in rows:
        cells = [f"{row.seconds[s]:.2f} | {row.peak[s] / 2**20:.0f}" for s in STAGES]
        lines.append(f"| {row.name} {row.value} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two values of each size only")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure_here(*json.loads(asked.one))))
        return
    print("base: " + ", ".join(f"{name} {value}" for name, value in BASE.items()))
    for name, values in STEPS.items():
        chosen = values[:2] if asked.quick else values
        print(f"\n{table([measure(name, value) for value in chosen])}", flush=True)


if __name__ == "__main__":
    main()
