"""The image files that an export is compared on."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.common.files import read_json
from dots.common.records import SAMPLES
from dots.data import prepare
from dots.data.info import DataInfo
from dots.runs.predict import image_files

MOST = 64
"""So many files are compared at most."""

ARRAY = ".npy"
"""Arrays [C, H, W], already normalised: for networks of other than one or three channels."""


@contextmanager
def comparison_files(run: Path, given: Sequence[Path], info: DataInfo) -> Iterator[list[Path]]:
    """Image files for the time of the block: the given ones, or the samples of a run.

    Pictures have one or three channels. For networks of other images there are no files to be
    had: arrays of seeded noise take their place. Raises UserError where there is no image.
    """
    if given:
        yield image_files(given)[:MOST]
        return
    with TemporaryDirectory() as folder:
        place = Path(folder)
        yield _samples(run, place) if info.channels in (1, 3) else _noise(info, place)


def _samples(run: Path, folder: Path) -> list[Path]:
    """The pictures in the run's samples.json, as files."""
    hint = "give real images with --images"
    path = run / SAMPLES
    if not path.is_file():
        raise UserError(f"{str(run)!r} holds no sample images to compare on: {hint}")
    value = read_json(path, what="sample pictures of a run")
    try:
        texts = [entry["png"] for part in ("mistakes", "augmented") for entry in value[part]]
        pictures = [base64.b64decode(text, validate=True) for text in texts[:MOST]]
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise UserError(f"{str(path)!r} is damaged: {hint}") from None
    if not pictures:
        raise UserError(f"{str(path)!r} holds no images: {hint}")
    files = [folder / f"{number}.png" for number in range(len(pictures))]
    for file, picture in zip(files, pictures, strict=True):
        file.write_bytes(picture)
    return files


def _noise(info: DataInfo, folder: Path) -> list[Path]:
    draw = torch.Generator().manual_seed(0)
    files = [folder / f"{number}{ARRAY}" for number in range(8)]
    for file in files:
        shape = (info.channels, info.image_size, info.image_size)
        np.save(file, torch.randn(shape, generator=draw).numpy())
    return files


def inputs(files: Sequence[Path], info: DataInfo) -> Tensor:
    """Files as a network of `info` wants them: [N, C, H, W], normalised."""
    return torch.cat(
        [
            torch.from_numpy(np.load(file))[None] if file.suffix == ARRAY else prepare(file, info)
            for file in files
        ]
    )
