"""Images in the page: a batch as the network sees it, and the worst mistakes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from dots.common.records import Picture
from dots.report.reading import Run
from dots.report.wording import percent, visible

SHOWN = 32
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Shown:
    """An image as a data address, with the names that stand under it."""

    source: str
    label: str
    predicted: str | None
    confidence: str | None
    index: int | None


@dataclass(frozen=True)
class Pictures:
    """The images of a page, and how many could not be shown."""

    augmented: tuple[Shown, ...]
    mistakes: tuple[Shown, ...]
    left_out: int


def pictures(run: Run) -> Pictures | None:
    """The images, or None where the run recorded none; the most confident mistakes first."""
    if run.samples is None:
        return None
    augmented = [_shown(picture) for picture in run.samples.augmented[:SHOWN]]
    ordered = sorted(run.samples.mistakes, key=lambda picture: -(picture.confidence or 0))
    mistakes = [_shown(picture) for picture in ordered[:SHOWN]]
    return Pictures(
        tuple(_present(augmented)),
        tuple(_present(mistakes)),
        [*augmented, *mistakes].count(None),
    )


def _present(shown: Iterable[Shown | None]) -> Iterable[Shown]:
    return (one for one in shown if one is not None)


def _shown(picture: Picture) -> Shown | None:
    """None for what is no PNG: nothing but a picture may go into a data address."""
    try:
        content = base64.b64decode(picture.png, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not content.startswith(_PNG):
        return None
    return Shown(
        source=f"data:image/png;base64,{picture.png}",
        label=visible(picture.label),
        predicted=None if picture.predicted is None else visible(picture.predicted),
        confidence=None if picture.confidence is None else percent(picture.confidence, 0),
        index=picture.index,
    )
