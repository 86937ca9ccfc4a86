"""Time of one step of the topology search: ours and the textbook's.

    python benchmarks/topology_step.py [--threads 1 2] [--repeats 5] [--batch 64] ...

One gradient for w, β and α', two operations on every edge. The textbook keeps all eight and
skips those of weight zero, as the authors' release does. Measured for two pairs of operations:
zero and a 3×3 separable convolution (the setting in which the release was timed), and max
pooling and that convolution. Target: at most a third.
"""

from __future__ import annotations

from collections.abc import Sequence

from comparing import alternate, each_thread_count, parser, print_ratios
from ours import Sizes, add_sizes, topology_search
from textbook_steps import TextbookTopology

TARGET = 1 / 3
RETAINED = (("none", "sep_conv_3x3"), ("max_pool_3x3", "sep_conv_3x3"))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    wanted = parser(__doc__, repeats=5)
    add_sizes(wanted, channels=16, cells=20, batch=64)
    options = wanted.parse_args(words)
    sizes = Sizes.asked(options)
    batch = sizes.ours()
    for retained in RETAINED:
        stage, naive = topology_search(sizes, retained), TextbookTopology(sizes, retained)
        runs = {"ours": lambda: stage.step(0, 0, (batch, None)), "textbook": naive.step}  # noqa: B023
        print(f"\ntopology step, {' and '.join(retained)} on every edge: {sizes}")
        for _ in each_thread_count(options):
            print_ratios(alternate(runs, options), {"textbook": TARGET})


if __name__ == "__main__":
    main()
