"""Classifying image files with whatever can: a run's network, or an exported one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.common.text import csv_cell, plain
from dots.data import prepare
from dots.data.info import DataInfo

SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
"""What is taken from a folder; a file that is named itself may be called anything."""


class Classifier(Protocol):
    """What gives logits, and knows its preprocessing and class names."""

    @property
    def info(self) -> DataInfo:
        """How images are prepared, and what the classes are called."""

    def logits(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of normalised images [B, C, H, W]."""


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image, with their probabilities, best first."""

    path: str
    classes: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "image": self.path,
            "classes": [{"name": name, "probability": p} for name, p in self.classes],
        }

    def __str__(self) -> str:
        """As a line for people."""
        return f"{self.path}: " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in self.classes)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and those of image formats in the folders and below, each folder sorted.

    Raises UserError for a path that is not there, and for a folder without an image.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise UserError(f"no file {str(path)!r}: expected an image there")
            files.append(path)
            continue
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not found:
            raise UserError(f"no image in the folder {str(path)!r}")
        files += found
    return files


def predict(
    classifier: Classifier, files: Sequence[Path], *, top: int = 5, batch: int = 64
) -> Iterator[Prediction]:
    """Classify image files, `batch` at a time; a batch is given when it is done.

    Raises UserError, naming the file, where one cannot be read.
    """
    info = classifier.info
    for start in range(0, len(files), batch):
        part = files[start : start + batch]
        images = torch.cat([prepare(file, info) for file in part])
        with torch.no_grad():
            probabilities = torch.softmax(classifier.logits(images).float(), dim=1).cpu()
        best, classes = probabilities.topk(min(top, len(info.classes)), dim=1)
        for file, ps, indices in zip(part, best.tolist(), classes.tolist(), strict=True):
            names = tuple((info.classes[i], p) for i, p in zip(indices, ps, strict=True))
            yield Prediction(str(file), names)


def as_json(predictions: Sequence[Prediction]) -> str:
    """All predictions as one JSON list."""
    return json.dumps([prediction.to_json() for prediction in predictions], indent=2)


def csv_lines(predictions: Iterator[Prediction], top: int) -> Iterator[str]:
    """A header and a line for each image: its path, then name and probability by rank."""
    ranks = range(1, top + 1)
    yield _csv_line(["image", *(f"{w}_{n}" for n in ranks for w in ("class", "probability"))])
    for prediction in predictions:
        cells = [cell for name, p in prediction.classes for cell in (name, f"{p:.6f}")]
        yield _csv_line([prediction.path, *cells])


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([csv_cell(plain(cell)) for cell in cells])
    return text.getvalue()
