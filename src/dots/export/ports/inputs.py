"""Image files as arrays for a network. This text is copied into exported programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dots.export.pictures import picture


def prepared(paths: Sequence[str], preprocessing: dict[str, Any]) -> Any:
    """Image files, normalised: float32 [B, C, H, W]. Files .npy hold what is normalised already."""
    channels, height, width = preprocessing["input_size"]
    mean = np.array(preprocessing["mean"], np.float32)[:, None, None]
    std = np.array(preprocessing["std"], np.float32)[:, None, None]
    images = []
    for path in paths:
        if path.endswith(".npy"):
            images.append(np.load(path))
            continue
        pixels = np.asarray(picture(path, preprocessing), np.float32)
        pixels = pixels.reshape(height, width, channels).transpose(2, 0, 1)
        images.append((pixels / 255 - mean) / std)
    return np.stack(images)
