"""What known networks would cost on these images, beside those that the run trained."""

from __future__ import annotations

from dataclasses import dataclass

from dots.report.reading import Run
from dots.report.trained_network import subject
from dots.report.verdict import trained_cells
from dots.report.wording import amount, percent, visible

_KINDS = {"cell": "zoo cell, not trained here", "reference": "reference network, not trained here"}


@dataclass(frozen=True)
class Row:
    """A network: its name, what it is, its costs as text; `trained`: by this run."""

    name: str
    what: str
    parameters: str
    multiply_adds: str
    trained: bool


@dataclass(frozen=True)
class Sizes:
    """Networks by rising parameters, and the image size that they were counted for."""

    rows: tuple[Row, ...]
    known: int
    image_size: int


def sizes(run: Run) -> Sizes | None:
    """The table, or None where sizes.json is not there."""
    if run.sizes is None or not run.sizes.networks:
        return None
    trained = subject(run)
    rows = [
        (
            numbers.parameters,
            numbers.multiply_adds,
            trained.title_of(name),
            f"trained here, {percent(numbers.test_accuracy)}",
            True,
        )
        for name, numbers in trained_cells(run).items()
        if numbers.parameters is not None and numbers.test_accuracy is not None
    ]
    rows += [
        (one.parameters, one.multiply_adds, visible(one.name), _KINDS[one.kind], False)
        for one in run.sizes.networks
    ]
    rows.sort(key=lambda row: row[0] or 0)
    written = tuple(
        Row(name, what, amount(parameters), amount(multiply_adds), trained)
        for parameters, multiply_adds, name, what, trained in rows
    )
    return Sizes(written, len(run.sizes.networks), run.sizes.image_size)
