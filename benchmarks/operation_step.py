"""Time of one weight step of the operation search: ours and the textbook's.

    python benchmarks/operation_step.py [--threads 1 2] [--repeats 5] [--batch 64] ...

All eight operations on every edge; target: at most a quarter of the textbook's time.
"""

from __future__ import annotations

from collections.abc import Sequence

from comparing import compare, sized
from ours import Sizes, operation_search
from textbook_steps import TextbookSearch

TARGET = 1 / 4


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = sized(__doc__, words, channels=16, cells=8, batch=64)
    sizes = Sizes.asked(options)
    search, batch = operation_search(sizes), sizes.ours()
    runs = {
        "ours": lambda: search.weight_step(batch),
        "textbook": TextbookSearch(sizes).weight_step,
    }
    compare(f"operation-search weight step: {sizes}", runs, options, {"textbook": TARGET})


if __name__ == "__main__":
    main()
