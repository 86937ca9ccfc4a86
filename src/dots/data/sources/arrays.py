"""NumPy arrays: `.npz` files, scikit-learn's digits, and what other readers found in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dots.common.errors import UserError, in_one_line
from dots.data.decode import BROKEN
from dots.data.sources.records import TensorRecords
from dots.data.sources.source import Part, Source, make_source

Array = NDArray[Any]

LAYOUTS = (
    {"train": ("x_train", "y_train"), "val": ("x_val", "y_val"), "test": ("x_test", "y_test")},
    {
        "train": ("train_images", "train_labels"),
        "val": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
    {"train": ("images", "labels"), "val": ("", ""), "test": ("", "")},
    {"train": ("x", "y"), "val": ("", ""), "test": ("", "")},
)
"""Names of arrays that are understood: Keras', MedMNIST's, and a single part."""

MAX_BYTES = 16 * 2**30


def read_npz(path: Path) -> Source:
    """Read a `.npz` file: x_train and y_train, x_test and y_test (or see LAYOUTS).

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W] with any number of channels C: of the
    second and the last axis the smaller one. Labels are integers or text, [N] or [N, 1].
    Classes are the labels that occur in the training part, sorted.

    Raises UserError for anything else, and for arrays that hold Python objects.
    """
    arrays = _load(path)
    for layout in LAYOUTS:
        if set(layout["train"]) <= set(arrays):
            break
    else:
        raise UserError(
            f"{str(path)!r} holds {', '.join(map(repr, arrays)) or 'nothing'}: "
            "expected the arrays x_train and y_train, or images and labels"
        )
    parts = {
        key: array_part(arrays[images], arrays[labels], f"{images} in {str(path)!r}")
        for key, (images, labels) in layout.items()
        if images in arrays and labels in arrays
    }
    return make_source(path.stem, parts, flip=True)


def array_part(images: Array, labels: Array, where: str) -> Part:
    """A part of arrays as in read_npz; `where` names them in errors."""
    pixels = _pixels(images, where)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.shape != (len(pixels),):
        raise UserError(
            f"{where}: {len(pixels)} images need labels of shape ({len(pixels)},), "
            f"not {labels.shape}"
        )
    if labels.dtype.kind not in "iubUS":
        raise UserError(f"{where}: labels must be integers or text, not {labels.dtype}")
    values, index = np.unique(labels, return_inverse=True)
    text = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
    return Part(TensorRecords(pixels, where), torch.from_numpy(index.astype(np.int64)), tuple(text))


def _pixels(images: Array, where: str) -> Tensor:
    """The images as a tensor [N, H, W, C], uint8 or float32."""
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise UserError(
            f"{where}: images must be [N, H, W], [N, H, W, C] or [N, C, H, W], not {images.shape}"
        )
    return channels_last(torch.from_numpy(_numbers(images, where))).contiguous()


def channels_last(images: Tensor) -> Tensor:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] as [N, H, W, C].

    Of the second and the last axis the smaller one is the channels; the last, if they tie.
    """
    if images.ndim == 3:
        return images[..., None]
    return images.permute(0, 2, 3, 1) if images.shape[1] < images.shape[3] else images


def _numbers(images: Array, where: str) -> Array:
    """uint8 stays; 16 bits become float32 from 0 to 1; floats stay, as float32."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.uint16:
        return images.astype(np.float32) / np.float32(65_535)
    if images.dtype.kind == "f":
        images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise UserError(f"{where}: some pixels are not finite numbers")
        return images
    if images.dtype.kind in "iub" and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8)
    raise UserError(f"{where}: pixels must be 0 to 255 or floating-point, not {images.dtype}")


def _load(path: Path) -> Mapping[str, Array]:
    """All arrays of the file whose headers agree with their sizes. Pickles are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_member(archive, member, path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (*BROKEN, zipfile.BadZipFile, RuntimeError, MemoryError) as error:
        raise UserError(f"cannot read {str(path)!r} as .npz: {in_one_line(error)}") from None


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an array that claims more than the file holds, before memory is taken for it."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version >= (2, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    claimed = dtype.itemsize * int(np.prod(shape, dtype=object))
    if claimed > min(member.file_size, MAX_BYTES):
        raise UserError(f"{str(path)!r}: the array {member.filename!r} is damaged or too large")


def read_digits() -> Source:
    """Read scikit-learn's digits, grayscale, 8×8 pixels; no network is needed.

    There is no test part: one is drawn. A mirrored digit is no digit, so flips are off.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # the values go from 0 to 16
    part = array_part(pixels, digits.target, "digits")
    return make_source("digits", {"train": part}, flip=False)
