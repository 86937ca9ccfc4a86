"""Using a trained network: testing it on data, classifying image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dots.data import Batches, open_data, prepare
from dots.data.sources import Spec
from dots.devices import make_fabric
from dots.errors import UserError
from dots.evaluate import TestResult, evaluate
from dots.run import RunDirectory
from dots.saved import TrainedNetwork, load_network

_BATCH = 256


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


def load(run: str | Path) -> TrainedNetwork:
    """The trained network of a run directory, with its preprocessing and class names."""
    return load_network(RunDirectory.read(Path(run)).path)


def evaluate_run(
    run: Path,
    spec: Spec,
    *,
    device: str | None = None,
    skip_corrupt: bool = False,
    download: bool = True,
) -> TestResult:
    """Test the network of a run on the test part of a data set.

    The images are brought to the network's size and channels and normalised as in its
    training. Raises UserError where the classes are not the network's.
    """
    trained = load(run)
    recipe, info = RunDirectory.read(run).recipe, trained.info
    settings = recipe.data.model_copy(update={"image_size": info.image_size, "limit": None})
    data = open_data(
        spec,
        settings,
        recipe.seed,
        splits_folder=run if (run / "splits.json").exists() else None,
        download=download,
        skip_corrupt=skip_corrupt,
    )
    if data.info.classes != info.classes:
        raise UserError(
            f"the classes of {data.info.name!r} are not those of the network: it knows "
            f"{', '.join(info.classes[:10])}"
        )
    if data.info.channels != info.channels:
        raise UserError(
            f"the images have {data.info.channels} channels, the network wants {info.channels}"
        )
    place = make_fabric(device).device
    batches = Batches(
        data.test,
        torch.arange(len(data.test)),
        _BATCH,
        info=info,
        augment=None,
        shuffle=False,
        seed=recipe.seed,
        stream="test",
        device=place,
    )
    return evaluate(trained.to(place), batches.epoch(0), len(info.classes))


def predict_files(
    run: Path, images: Sequence[Path], *, top: int = 5, device: str | None = None
) -> list[Prediction]:
    """Classify image files. Raises UserError, naming the file, where one cannot be read."""
    trained = load(run)
    place = make_fabric(device).device
    trained.to(place)
    predictions = []
    for start in range(0, len(images), _BATCH):
        files = images[start : start + _BATCH]
        batch = torch.cat([prepare(file, trained.info) for file in files]).to(place)
        with torch.no_grad():
            probabilities = torch.softmax(trained(batch).float(), dim=1).cpu()
        best, classes = probabilities.topk(min(top, len(trained.classes)), dim=1)
        for file, ps, indices in zip(files, best.tolist(), classes.tolist(), strict=True):
            names = tuple((trained.classes[i], p) for i, p in zip(indices, ps, strict=True))
            predictions.append(Prediction(str(file), names))
    return predictions
