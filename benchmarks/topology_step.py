"""Time of one step of the topology search: ours and the textbook's.

    python benchmarks/topology_step.py [--threads 1 2] [--repeats 5] [--batch 64] ...

One gradient for w, β and α', two operations on every edge. The textbook keeps all eight and
skips those of weight zero, as the authors' release does. Measured for two pairs of operations:
zero and a 3×3 separable convolution (the setting in which the release was timed), and max
pooling and that convolution. Target: at most a third.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from comparing import compare, sized
from ours import Sizes, topology_search
from textbook_steps import TextbookTopology

TARGET = 1 / 3
RETAINED = (("none", "sep_conv_3x3"), ("max_pool_3x3", "sep_conv_3x3"))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = sized(__doc__, words, channels=16, cells=20, batch=64)
    sizes = Sizes.asked(options)
    for retained in RETAINED:
        stage, naive = topology_search(sizes, retained), TextbookTopology(sizes, retained)
        pair = (sizes.ours(), None)
        runs = {"ours": partial(stage.step, 0, 0, pair), "textbook": naive.step}
        title = f"\ntopology step, {' and '.join(retained)} on every edge: {sizes}"
        compare(title, runs, options, {"textbook": TARGET})


if __name__ == "__main__":
    main()
