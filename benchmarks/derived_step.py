"""Time of one training step of a published DOTS cell: ours and the stock modules'.

    python benchmarks/derived_step.py [--threads 1 2] [--repeats 5] [--batch 96] ...

The network of the paper's CIFAR results with auxiliary head and drop path, half way through the
training. The other is the same network of stock modules in NCHW. Target: at most a half.
"""

from __future__ import annotations

from collections.abc import Sequence

from comparing import alternate, each_thread_count, parser, print_ratios
from ours import PUBLISHED, Sizes, add_sizes, training
from textbook_steps import TextbookTraining

TARGET = 1 / 2


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    wanted = parser(__doc__, repeats=5)
    add_sizes(wanted, channels=36, cells=20, batch=96)
    options = wanted.parse_args(words)
    sizes = Sizes.asked(options)
    stage, batch, naive = training(sizes), sizes.ours(), TextbookTraining(sizes)
    runs = {"ours": lambda: stage.step(0, 0, (batch, None)), "stock modules": naive.step}
    print(f"training step of {PUBLISHED}: {sizes}")
    for _ in each_thread_count(options):
        print_ratios(alternate(runs, options), {"stock modules": TARGET})


if __name__ == "__main__":
    main()
