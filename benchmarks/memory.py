"""Peak memory of a weight step of the operation search, and what trades it for time.

    python benchmarks/memory.py [--threads 1] [--repeats 2] [--batch 64] ...

Each row is from a process of its own: the largest resident memory above that of the process
before it builds a network, and the time of a step. Target: at most half of the textbook's.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from comparing import add_sizes, alternate, in_a_process, machine, parser, verdict

TARGET = 1 / 2
ROWS: Mapping[str, tuple[str, ...] | None] = {
    "textbook": None,
    "ours": (),
    "ours, low_memory": ("low_memory=true",),
    "ours, accumulate=2": ("accumulate=2",),
    "ours, accumulate=4": ("accumulate=4",),
    "ours, precision=bf16": ("precision=bf16",),
    "ours, low_memory and accumulate=4": ("low_memory=true", "accumulate=4"),
    "ours, fast=false": ("fast=false",),
}
"""The settings that a row changes; None: not ours."""


def measure_here(request: dict[str, Any]) -> dict[str, float]:
    """In a process of its own: bytes above the idle process, and seconds of a step."""
    import torch

    from dots.runs.planning.memory_limit import peak_bytes
    from ours import CPU, Sizes, operation_search
    from textbook_steps import TextbookSearch

    torch.set_num_threads(request["threads"])
    sizes, settings = Sizes(**request["sizes"]), request["settings"]
    idle = peak_bytes(CPU)
    step: Callable[[], object]
    if settings is None:
        step = TextbookSearch(sizes).weight_step
    else:
        search, batch = operation_search(sizes, *settings), sizes.ours()

        def step() -> object:
            return search.weight_step(batch)

    times = alternate({"step": step}, Namespace(**request["options"]))
    return {"bytes": peak_bytes(CPU) - idle, "seconds": median(times["step"])}


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    wanted = parser(__doc__, repeats=2)
    wanted.set_defaults(threads=[1])
    add_sizes(wanted, channels=16, cells=8, batch=64)
    wanted.add_argument("--one", help="(used by this script)")
    options = wanted.parse_args(words)
    if options.one:
        print(json.dumps(measure_here(json.loads(options.one))))
        return
    sizes = {name: getattr(options, name) for name in ("channels", "cells", "batch", "size")}
    print("operation-search weight step: " + ", ".join(f"{n} {v}" for n, v in sizes.items()))
    for threads in options.threads:
        print(f"\n{machine()}, {threads} thread(s)")
        print_rows(sizes, threads, {"repeats": options.repeats, "cpu_time": options.cpu_time})


def print_rows(sizes: dict[str, int], threads: int, options: dict[str, Any]) -> None:
    """A line for each row, with what it takes of the textbook's."""
    base: dict[str, float] = {}
    for name, settings in ROWS.items():
        request = {"sizes": sizes, "settings": settings, "threads": threads, "options": options}
        found = in_a_process(__file__, request, threads)
        base = base or found
        share, time = (found[key] / max(base[key], 1e-9) for key in ("bytes", "seconds"))
        end = f"; {verdict(share, TARGET)}" if settings == () else ""
        print(
            f"  {name:>34}: {found['bytes'] / 2**20:6.0f} MiB, {share:.3f}; "
            f"{found['seconds']:.3f} s, {time:.3f}{end}",
            flush=True,
        )


if __name__ == "__main__":
    main()
