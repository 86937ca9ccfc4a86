"""Data sets by name, through torchvision's loaders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dots.common.errors import UserError, in_one_line
from dots.data.sources.arrays import array_part
from dots.data.sources.dataset import dataset_part
from dots.data.sources.records import FileRecords
from dots.data.sources.source import Part, Source, make_source

Arguments = Mapping[str, Any]
_TRAIN: Arguments = {"train": True}
_TEST: Arguments = {"train": False}


@dataclass(frozen=True)
class Loading:
    """How torchvision loads a set: its class and, for each part, the arguments."""

    loader: str
    parts: Mapping[str, Arguments] = field(default_factory=lambda: {"train": _TRAIN, "test": _TEST})
    flip: bool = True
    downloads: bool = True


def _splits(train: str, test: str, val: str | None = None) -> Mapping[str, Arguments]:
    named = {"train": train, "val": val, "test": test}
    return {part: {"split": split} for part, split in named.items() if split}


def torchvision_sets() -> Mapping[str, Loading]:
    """What can be asked for by name. Letters, digits and house numbers are not mirrored."""
    return {
        "cifar10": Loading("CIFAR10"),
        "cifar100": Loading("CIFAR100"),
        "mnist": Loading("MNIST", flip=False),
        "fashionmnist": Loading("FashionMNIST"),
        "kmnist": Loading("KMNIST", flip=False),
        "qmnist": Loading("QMNIST", flip=False),
        "usps": Loading("USPS", flip=False),
        "svhn": Loading("SVHN", _splits("train", "test"), flip=False),
        "stl10": Loading("STL10", _splits("train", "test")),
        "gtsrb": Loading("GTSRB", _splits("train", "test"), flip=False),
        "flowers102": Loading("Flowers102", _splits("train", "test", "val")),
        "dtd": Loading("DTD", _splits("train", "test", "val")),
        "food101": Loading("Food101", _splits("train", "test")),
        "fgvcaircraft": Loading("FGVCAircraft", _splits("trainval", "test")),
        "oxfordiiitpet": Loading("OxfordIIITPet", _splits("trainval", "test")),
        "pcam": Loading("PCAM", _splits("train", "test", "val")),
        "eurosat": Loading("EuroSAT", {"train": {}}),
        "caltech101": Loading("Caltech101", {"train": {}}),
        "caltech256": Loading("Caltech256", {"train": {}}),
        "imagenette": Loading("Imagenette", _splits("train", "val")),
        "imagenet": Loading("ImageNet", _splits("train", "val"), downloads=False),
    }


def canonical(name: str) -> str:
    """A name as the table has it: "Fashion-MNIST" is "fashionmnist"."""
    return name.lower().replace("-", "").replace("_", "")


def download_folder() -> Path:
    """Where data sets are kept: $DOTS_DATA, or ~/.cache/dots."""
    return Path(os.environ.get("DOTS_DATA") or Path.home() / ".cache" / "dots").expanduser()


def read_torchvision(name: str, *, download: bool) -> Source:
    """Load the set called `name`, downloading it first where allowed and needed.

    Raises UserError, with the folder that was looked in, where it is not there and cannot be
    downloaded.
    """
    loading = torchvision_sets()[canonical(name)]
    folder = download_folder() / canonical(name)
    parts = {
        part: _part(_load(loading, arguments, folder, name, download), folder, f"{part} of {name}")
        for part, arguments in loading.parts.items()
    }
    return make_source(canonical(name), parts, flip=loading.flip)


def _load(loading: Loading, arguments: Arguments, folder: Path, name: str, download: bool) -> Any:
    import torchvision.datasets

    loader = getattr(torchvision.datasets, loading.loader)
    try:
        return loader(folder, **arguments)
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        missing = in_one_line(error)
    where = f"{name!r} is not in {str(folder)!r} (set DOTS_DATA to look elsewhere)"
    if not loading.downloads:
        raise UserError(
            f"{where} and cannot be downloaded: {missing}; a folder with train and val works too"
        )
    if not download:
        raise UserError(f"{where}, and downloads are not allowed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return loader(folder, download=True, **arguments)
    except (RuntimeError, OSError, ValueError, ImportError, EOFError) as error:
        raise UserError(
            f"{where} and the download failed: {in_one_line(error)}; put its files there, "
            "or give a folder of images or a parquet file"
        ) from None


def _part(dataset: Any, folder: Path, where: str) -> Part:
    """Pixels where the dataset holds them in memory, else files where it names them."""
    part = dataset_part(dataset, where)
    pixels = getattr(dataset, "data", None)
    if isinstance(pixels, np.ndarray | Tensor) and len(pixels) == len(part):
        images = array_part(np.asarray(pixels), part.labels.numpy(), where)
        return Part(images.records, part.labels, part.names)
    for name in ("samples", "_samples", "_image_files", "_images"):
        files = getattr(dataset, name, None)
        if isinstance(files, list) and len(files) == len(part):
            paths = [Path(file[0] if isinstance(file, tuple) else file) for file in files]
            return Part(_records(paths, folder), part.labels, part.names)
    return part


def _records(paths: list[Path], folder: Path) -> FileRecords:
    """Files inside `folder` by their relative paths, others by their whole ones."""
    inside = all(path.is_relative_to(folder) for path in paths)
    names = (path.relative_to(folder) if inside else path.absolute() for path in paths)
    return FileRecords(folder, tuple(path.as_posix() for path in names))
