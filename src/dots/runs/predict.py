"""Using a trained network: testing it on data, classifying image files.

The latter with whatever can: a run's network, or an exported one.
"""

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
from dots.common.files import read_json
from dots.common.plugins import NOTHING
from dots.common.records import JOB, SPLITS
from dots.common.text import csv_cell, plain
from dots.data import Batches, open_test, prepare
from dots.data.info import DataInfo
from dots.data.sources.read import Spec, remembered
from dots.data.sources.table import Columns
from dots.networks.saved import TrainedModel, load_model
from dots.runs.directory import RunDirectory
from dots.runs.plugins import space_of
from dots.space.search_space import SearchSpace
from dots.training.evaluate import TestResult, evaluate
from dots.training.processes import find_device

_BATCH = 256


def load(run: str | Path, *, space: SearchSpace | None = None) -> TrainedModel:
    """The trained network of a run directory, with its preprocessing and class names.

    `space` is the one that the cell was searched in, where it is neither ours nor installed.
    Raises UserError where it is not given, or the run has no network.
    """
    own = space_of(Path(run), NOTHING) if space is None else space
    return load_model(RunDirectory.read(Path(run)).path, space=own)


def evaluate_run(
    run: Path,
    spec: Spec,
    *,
    device: str | None = None,
    skip_corrupt: bool = False,
    download: bool = True,
    space: SearchSpace | None = None,
) -> tuple[TestResult, tuple[str, ...]]:
    """Test the network of a run on the test part of a data set, and what is to be said.

    The images are brought to the network's size and channels and normalised as in its
    training; labels are matched by class name. Where the source has no test part, all its
    images are used, but for the run's own data: then those that the run held out. Raises
    UserError where no class is the network's.
    """
    trained = load(run, space=space)
    info = trained.info
    images, notices = open_test(
        spec,
        info,
        splits_folder=run if _is_own(run, spec) else None,
        columns=Columns.of(RunDirectory.read(run).recipe.data),
        download=download,
        skip_corrupt=skip_corrupt,
    )
    place = find_device(device)
    rows = torch.arange(len(images))
    batches = Batches(images, rows, _BATCH, info=info, stream="test", device=place)
    result = evaluate(trained.to(place), batches.epoch(0), len(info.classes))
    return result, notices


def _is_own(run: Path, spec: Spec) -> bool:
    """Whether these are the data of the run, whose split says what is the test part."""
    if not (run / SPLITS).is_file() or not (run / JOB).is_file():
        return False
    job = read_json(run / JOB, what="what a run is for")
    named = remembered(spec)
    return isinstance(job, dict) and named is not None and job.get("data") == named


class RunClassifier:
    """The network of a run as a Classifier, on a device."""

    def __init__(
        self, run: Path, device: str | None = None, space: SearchSpace | None = None
    ) -> None:
        self._place = find_device(device)
        self._trained = load(run, space=space).to(self._place)

    @property
    def info(self) -> DataInfo:
        """How images are prepared, and what the classes are called."""
        return self._trained.info

    def logits(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of normalised images [B, C, H, W]."""
        logits: Tensor = self._trained(images.to(self._place))
        return logits


def predict_files(
    run: Path, images: Sequence[Path], *, top: int = 5, device: str | None = None
) -> list[Prediction]:
    """Classify image files. Raises UserError, naming the file, where one cannot be read."""
    return list(predict(RunClassifier(run, device), images, top=top))


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
