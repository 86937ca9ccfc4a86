"""What is embedded in every exported file: preprocessing (timm's keys) and class names.

No torch: the JSON of a description is all that a program elsewhere needs to prepare an image
as the training did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dots.common.errors import UserError
from dots.common.files import parse_json
from dots.data.info import DataInfo

VERSION = 1
KEY = "dots"
"""Under this name the description lies in files that hold texts by name."""


@dataclass(frozen=True)
class Description:
    """A network's name, its data, and the figures of its run's report."""

    name: str
    info: DataInfo
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return self.info.classes

    def preprocessing(self) -> dict[str, Any]:
        """How an image becomes the input, in the keys of timm's `pretrained_cfg`.

        The middle square of `crop_pct` times the shorter side is cut and resized (bilinear,
        antialiased) to `input_size`; pixels / 255 are normalised by `mean` and `std`.
        """
        info = self.info
        return {
            "input_size": [info.channels, info.image_size, info.image_size],
            "mean": list(info.mean),
            "std": list(info.std),
            "crop_pct": info.centre,
            "crop_mode": "center",
            "interpolation": "bilinear",
            "num_classes": len(info.classes),
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "version": VERSION,
            "name": self.name,
            "preprocessing": self.preprocessing(),
            "classes": list(self.info.classes),
            "figures": dict(self.figures),
        }

    def to_text(self) -> str:
        """As JSON text on one line."""
        return json.dumps(self.to_json(), allow_nan=False)

    @classmethod
    def from_text(cls, text: str, where: str) -> Description:
        """The inverse of to_text. Raises UserError, naming `where`, for anything else."""
        return cls.from_json(parse_json(text, what="a description", where=where), where)

    @classmethod
    def from_json(cls, value: Any, where: str) -> Description:
        """The inverse of to_json. Raises UserError, naming `where`, for anything else."""
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise UserError(f"{where} is not described as a network of DOTS (version {VERSION})")
        try:
            how = value["preprocessing"]
            channels, height, width = how["input_size"]
            content = {
                "name": value["name"],
                "classes": value["classes"],
                "channels": channels,
                "image_size": height,
                "mean": how["mean"],
                "std": how["std"],
                "flip": False,
                "centre": how["crop_pct"],
            }
            if height != width or how["interpolation"] != "bilinear":
                raise UserError(f"{where}: only square, bilinear preprocessing is known")
            if not isinstance(value["classes"], list):
                raise UserError(f"{where}: the classes are no list")
            figures = dict(value.get("figures", {}))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: the description is damaged: {error}") from None
        return cls(str(value["name"]), DataInfo.from_json(content, where=where), figures)
