"""Time of one training step of a published DOTS cell: ours and the stock modules'.

    python benchmarks/derived_step.py [--threads 1 2] [--repeats 5] [--batch 96] ...

The network of the paper's CIFAR results with auxiliary head and drop path, half way through the
training. The other is the same network of stock modules in NCHW. Target: at most a half.
"""

from __future__ import annotations

from collections.abc import Sequence

from comparing import compare, sized
from ours import PUBLISHED, Sizes, training
from textbook_steps import TextbookTraining

TARGET = 1 / 2


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = sized(__doc__, words, channels=36, cells=20, batch=96)
    sizes = Sizes.asked(options)
    stage, batch, naive = training(sizes), sizes.ours(), TextbookTraining(sizes)
    runs = {"ours": lambda: stage.step(0, 0, (batch, None)), "stock modules": naive.step}
    title = f"training step of {PUBLISHED}: {sizes}"
    compare(title, runs, options, {"stock modules": TARGET})


if __name__ == "__main__":
    main()
