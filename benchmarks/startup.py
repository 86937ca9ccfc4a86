"""Time from `dots --help` to its end, and the heavy modules that it loads.

    python benchmarks/startup.py [--repeats 10]

Each time is that of a new process, the start of Python included. Target: at most 0.5 s (after
one process that fills the caches of the disk), and none of the modules.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from time import perf_counter

from comparing import machine, parser, spread, verdict

TARGET = 0.5
HEAVY = (
    "torch", "torchvision", "lightning_fabric", "numpy", "scipy", "sklearn", "matplotlib", "PIL",
    "pyarrow", "pandas", "tensorboard", "safetensors", "jinja2",
)  # fmt: skip
LIST = "import sys\nfrom dots.cli.app import run\nrun(['--help'])\nprint(*sys.modules)"


def seconds() -> float:
    """Of one process."""
    start = perf_counter()
    subprocess.run([sys.executable, "-m", "dots", "--help"], capture_output=True, check=True)
    return perf_counter() - start


def heavy_modules() -> list[str]:
    """Which of HEAVY the help loads."""
    done = subprocess.run(
        [sys.executable, "-c", LIST], capture_output=True, encoding="utf-8", check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    return [name for name in HEAVY if name in loaded]


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, repeats=10).parse_args(words)
    print(machine())
    times = [seconds() for _ in range(1 + options.repeats)][1:]
    print(f"  dots --help: {spread(times)} s (minimum / median / maximum); ", end="")
    print(verdict(median(times), TARGET, " s"))
    heavy = heavy_modules()
    print(f"  heavy modules loaded: {', '.join(heavy) or 'none'}; ", end="")
    print(verdict(len(heavy), 0))


if __name__ == "__main__":
    main()
