"""The confusion matrix: whole where it fits, else the classes that are mixed up most."""

from __future__ import annotations

from dataclasses import dataclass

from dots.common.records import TestRecord
from dots.report.reading import Run
from dots.report.wording import percent, visible

WHOLE = 30
"""Up to so many classes the whole matrix is shown."""
LISTED = 15
SHADES = 8


@dataclass(frozen=True)
class Square:
    """A cell of the matrix: its count, its shade 0..8, whether true = predicted, in words."""

    count: int
    shade: int
    diagonal: bool
    spoken: str


@dataclass(frozen=True)
class MatrixRow:
    """The test images of one true class, and the share of them that was got right."""

    name: str
    squares: tuple[Square, ...]
    total: int
    recall: str


@dataclass(frozen=True)
class Pair:
    """Images of one class taken for another, and their share of the true class."""

    true: str
    predicted: str
    count: int
    share: str


@dataclass(frozen=True)
class ClassRow:
    """A class and how many of its test images were got right."""

    name: str
    right: int
    total: int
    recall: str


@dataclass(frozen=True)
class ConfusionView:
    """What the page shows. `matrix` is empty where there are more than WHOLE classes."""

    classes: tuple[str, ...]
    matrix: tuple[MatrixRow, ...]
    pairs: tuple[Pair, ...]
    worst: tuple[ClassRow, ...]
    images: int
    wrong: int

    @property
    def upright(self) -> bool:
        """Whether the names of the columns are short enough not to be turned."""
        return all(len(name) <= 3 for name in self.classes)


def confusion_view(run: Run) -> ConfusionView | None:
    """The view, or None where the run has not been tested."""
    test = run.test
    if test is None:
        return None
    names = tuple(visible(name, limit=40) for name in test.classes)
    images = sum(map(sum, test.confusion))
    right = sum(test.confusion[index][index] for index in range(len(names)))
    whole = len(names) <= WHOLE
    return ConfusionView(
        classes=names,
        matrix=tuple(_matrix_row(test, names, index) for index in range(len(names)))
        if whole
        else (),
        pairs=_pairs(test, names),
        worst=() if whole else _worst(test, names),
        images=images,
        wrong=images - right,
    )


def _share(count: int, total: int) -> str:
    return percent(count / total, 1) if total else "no images"


def _matrix_row(test: TestRecord, names: tuple[str, ...], true: int) -> MatrixRow:
    row = test.confusion[true]
    total = sum(row)
    squares = tuple(
        Square(
            count=count,
            shade=_shade(count / total) if total else 0,
            diagonal=predicted == true,
            spoken=f"{count} of {names[true]} taken for {names[predicted]}",
        )
        for predicted, count in enumerate(row)
    )
    return MatrixRow(names[true], squares, total, _share(row[true], total))


def _shade(share: float) -> int:
    """0 for none, then by the square root, so that a few mistakes still show."""
    return 0 if share <= 0 else max(1, round(SHADES * min(1.0, share) ** 0.5))


def _pairs(test: TestRecord, names: tuple[str, ...]) -> tuple[Pair, ...]:
    found = [
        (count, true, predicted)
        for true, row in enumerate(test.confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count > 0
    ]
    found.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    return tuple(
        Pair(names[true], names[predicted], count, _share(count, sum(test.confusion[true])))
        for count, true, predicted in found[:LISTED]
    )


def _worst(test: TestRecord, names: tuple[str, ...]) -> tuple[ClassRow, ...]:
    rows = [(row[true] / sum(row), true) for true, row in enumerate(test.confusion) if sum(row) > 0]
    rows.sort()
    return tuple(
        ClassRow(
            names[true],
            test.confusion[true][true],
            sum(test.confusion[true]),
            percent(recall, 1),
        )
        for recall, true in rows[:LISTED]
    )
