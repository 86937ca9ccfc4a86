"""What a network must know of the images it was trained on. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dots.common.errors import UserError

MAX_CLASSES = 1_000_000


@dataclass(frozen=True)
class DataInfo:
    """The facts of a data set that outlive it: they are saved with a network.

    `image_size` is the side of the square that the network sees, in pixels. `mean` and `std`
    (one number a channel, over the training part) are in units of the full range: pixel / 255
    for 8-bit images, the stored number itself for floating-point arrays. `flip` says whether a
    mirrored image keeps its class. `centre` is the share of the shorter side that a picture
    keeps when it is cut to a square: 1 but for sets that are streamed, 0.875 there, as is
    usual for ImageNet (resize to 256, cut 224).
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    centre: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @staticmethod
    def from_json(value: Any, *, where: str) -> DataInfo:
        """The inverse of to_json; UserError, naming `where` and the field, for anything else."""
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected an object that describes the data")
        try:
            info = DataInfo(
                name=value["name"],
                classes=tuple(value["classes"]),
                channels=value["channels"],
                image_size=value["image_size"],
                mean=tuple(value["mean"]),
                std=tuple(value["std"]),
                flip=value["flip"],
                centre=value.get("centre", 1.0),
            )
        except KeyError as error:
            raise UserError(f"{where}: the field {error} is missing") from None
        except TypeError:
            raise UserError(f"{where}: classes, mean and std must be lists") from None
        _check(info, where)
        return info


def _check(info: DataInfo, where: str) -> None:
    channels, classes = info.channels, info.classes
    sound = {
        "name": isinstance(info.name, str),
        "classes": 1 < len(classes) <= MAX_CLASSES and all(isinstance(c, str) for c in classes),
        "channels": _whole(channels, 1, 65_536),
        "image_size": _whole(info.image_size, 1, 65_536),
        "mean": len(info.mean) == channels and all(map(_finite, info.mean)),
        "std": len(info.std) == channels and all(_finite(s) and s > 0 for s in info.std),
        "flip": isinstance(info.flip, bool),
        "centre": _finite(info.centre) and 0 < info.centre <= 1,
    }
    for field, good in sound.items():
        if not good:
            raise UserError(f"{where}: the field {field!r} has a value that cannot be")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
