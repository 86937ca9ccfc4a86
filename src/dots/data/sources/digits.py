"""The built-in data set: 1,797 handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from dots.data.sources.arrays import array_part
from dots.data.sources.source import Source, make_source


def read_digits() -> Source:
    """Read scikit-learn's digits, grayscale, 8×8 pixels; no network is needed.

    There is no test part: one is drawn. A mirrored digit is no digit, so flips are off.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # the values go from 0 to 16
    part = array_part(pixels, digits.target, "digits")
    return make_source("digits", {"train": part}, flip=False)
