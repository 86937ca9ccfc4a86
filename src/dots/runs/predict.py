"""Using a trained network: testing it on data, classifying image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dots.common.files import read_json
from dots.common.records import JOB, SPLITS
from dots.data import Batches, open_test
from dots.data.info import DataInfo
from dots.data.sources.read import Spec, remembered
from dots.networks.saved import TrainedModel, load_model
from dots.runs.classify import Prediction, predict
from dots.runs.directory import RunDirectory
from dots.training.evaluate import TestResult, evaluate
from dots.training.processes import find_device

_BATCH = 256


def load(run: str | Path) -> TrainedModel:
    """The trained network of a run directory, with its preprocessing and class names."""
    return load_model(RunDirectory.read(Path(run)).path)


def evaluate_run(
    run: Path,
    spec: Spec,
    *,
    device: str | None = None,
    skip_corrupt: bool = False,
    download: bool = True,
) -> tuple[TestResult, tuple[str, ...]]:
    """Test the network of a run on the test part of a data set, and what is to be said.

    The images are brought to the network's size and channels and normalised as in its
    training; labels are matched by class name. Where the source has no test part, all its
    images are used, but for the run's own data: then those that the run held out. Raises
    UserError where no class is the network's.
    """
    trained = load(run)
    info = trained.info
    images, notices = open_test(
        spec,
        info,
        splits_folder=run if _is_own(run, spec) else None,
        label=RunDirectory.read(run).recipe.data.label,
        download=download,
        skip_corrupt=skip_corrupt,
    )
    place = find_device(device)
    batches = Batches(
        images,
        torch.arange(len(images)),
        _BATCH,
        info=info,
        augment=None,
        shuffle=False,
        seed=0,
        stream="test",
        device=place,
    )
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
    """The network of a run as a `dots.runs.classify.Classifier`, on a device."""

    def __init__(self, run: Path, device: str | None = None) -> None:
        self._place = find_device(device)
        self._trained = load(run).to(self._place)

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
