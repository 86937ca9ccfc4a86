"""Time of one first-order architecture step of the operation search: ours and the textbook's.

    python benchmarks/architecture_step.py [--threads 1 2] [--repeats 5] [--batch 64] ...

Published code computes the gradient of w with that of α, and throws it away; ours does not ask
for it. The target is a quarter of the published step. The textbook that spares itself the
gradient of w too is measured beside it.
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
    search, batch, naive = operation_search(sizes), sizes.ours(), TextbookSearch(sizes)
    runs = {
        "ours": lambda: search.architecture_step(batch),
        "textbook": naive.architecture_step,
        "textbook without ∂w": naive.architecture_step_without_weights,
    }
    compare(f"architecture step, first order: {sizes}", runs, options, {"textbook": TARGET})


if __name__ == "__main__":
    main()
