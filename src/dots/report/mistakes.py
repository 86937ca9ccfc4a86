"""What the network got wrong: the confusion matrix and the images."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from dots.common.records import Picture, TestRecord
from dots.report.reading import Run
from dots.report.wording import visible

WHOLE = 30
"""Up to so many classes the whole matrix is shown."""
LISTED = 15
SHADES = 8
SHOWN = 32
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Confusion:
    """The matrix with its classes, and what is drawn from it.

    `pairs` are the most frequent mistakes: true class, predicted class (indices), images.
    `worst` are the classes with the fewest right, where there are too many for the matrix.
    """

    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[int, int, int], ...]
    worst: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether the matrix is shown."""
        return len(self.classes) <= WHOLE

    @property
    def images(self) -> int:
        return sum(map(sum, self.matrix))

    @property
    def wrong(self) -> int:
        return self.images - sum(row[index] for index, row in enumerate(self.matrix))

    @property
    def upright(self) -> bool:
        """Whether the names of the columns are short enough not to be turned."""
        return all(len(name) <= 3 for name in self.classes)


def confusion(run: Run) -> Confusion | None:
    """The matrix, or None where the run has not been tested."""
    if run.test is None:
        return None
    names = tuple(visible(name, limit=40) for name in run.test.classes)
    matrix = tuple(map(tuple, run.test.confusion))
    worst = () if len(names) <= WHOLE else _worst(run.test)
    return Confusion(names, matrix, _pairs(run.test), worst)


def shade(count: int, total: int) -> int:
    """0 for none, then by the square root, so that a few mistakes still show."""
    return 0 if count <= 0 else max(1, round(SHADES * (count / total) ** 0.5))


def _pairs(test: TestRecord) -> tuple[tuple[int, int, int], ...]:
    found = [
        (true, predicted, count)
        for true, row in enumerate(test.confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count > 0
    ]
    found.sort(key=lambda pair: (-pair[2], pair[0], pair[1]))
    return tuple(found[:LISTED])


def _worst(test: TestRecord) -> tuple[int, ...]:
    rows = [(row[true] / sum(row), true) for true, row in enumerate(test.confusion) if sum(row) > 0]
    return tuple(true for _, true in sorted(rows)[:LISTED])


@dataclass(frozen=True)
class Pictures:
    """The images of a page, and how many could not be shown."""

    augmented: tuple[Picture, ...]
    mistakes: tuple[Picture, ...]
    left_out: int


def pictures(run: Run) -> Pictures | None:
    """The images, or None where the run recorded none; the most confident mistakes first."""
    if run.samples is None:
        return None
    augmented = run.samples.augmented[:SHOWN]
    ordered = sorted(run.samples.mistakes, key=lambda picture: -(picture.confidence or 0))[:SHOWN]
    shown = [tuple(filter(_is_png, group)) for group in (augmented, ordered)]
    left_out = len(augmented) + len(ordered) - sum(map(len, shown))
    return Pictures(shown[0], shown[1], left_out)


def _is_png(picture: Picture) -> bool:
    """Nothing but a picture may go into a data address."""
    try:
        return base64.b64decode(picture.png, validate=True).startswith(_PNG)
    except (binascii.Error, ValueError):
        return False
