"""Sentences that every caption holds: what the numbers are, and what they cannot show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dots.study.base import Row
from dots.study.options import Options

# Sec. 5.1: what published CIFAR accuracies were trained with.
_PAPER_EPOCHS, _PAPER_CHANNELS = 600, 36


def about(options: Options, rows: Sequence[Row]) -> Iterator[str]:
    """How accuracies were had, over how many seeds, and what is missing."""
    yield about_accuracy(options)
    yield about_search(options)
    yield about_seeds(options.seeds)
    yield from about_failures(rows)


def about_accuracy(options: Options) -> str:
    """Where accuracies come from."""
    if options.truth is not None:
        return (
            f"Accuracies are the benchmark's own, column {options.true_column}: each cell of "
            "NAS-Bench-201 was trained by its authors, so nothing is trained here."
        )
    train = options.recipe.train
    text = (
        f"Each cell's network ({train.cells} cells, {train.channels} channels) was trained from "
        f"scratch on {options.data} for {train.epochs} epoch{'s' * (train.epochs > 1)} and tested "
        "once, after the last."
    )
    if train.epochs < _PAPER_EPOCHS or train.channels < _PAPER_CHANNELS:
        text += (
            f" That is less than the paper's {_PAPER_EPOCHS} epochs and {_PAPER_CHANNELS} "
            "channels: the numbers compare with each other, not with published ones."
        )
    return text


def about_search(options: Options) -> str:
    """What the searches were."""
    recipe = options.recipe
    operations, topology = recipe.operations, recipe.topology
    return (
        f"Searches: preset {recipe.preset}, space {recipe.space}, data {options.data}, "
        f"{operations.epochs} + {topology.epochs} epochs, {operations.cells} and "
        f"{topology.cells} cells, {operations.channels} channels, one CPU thread or one GPU each."
    )


def about_seeds(seeds: Sequence[int]) -> str:
    """What the spread is a spread of."""
    named = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        return f"One seed ({named}): nothing is known of the spread, and differences may be chance."
    return (
        f"Mean ± sample standard deviation over {len(seeds)} seeds ({named}); intervals are "
        "Student's t for the mean, 95 %. Where they overlap widely, the data do not tell the "
        "groups apart; with so few seeds an interval itself is rough."
    )


def about_failures(rows: Sequence[Row]) -> Iterator[str]:
    """How many rows have no result."""
    failed = sum(row["error"] is not None for row in rows)
    if failed:
        yield (
            f"{failed} of {len(rows)} rows have no result and are in no mean: their errors are "
            "listed with the table."
        )
