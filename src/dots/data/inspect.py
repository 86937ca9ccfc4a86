"""Reading every image of a part: sizes, modes, brightness, fingerprints, what is broken."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dots.data.decode import ImageError, no_warnings, whole
from dots.data.load import Progress, opened_or_problem
from dots.data.sources.records import Raw
from dots.data.sources.source import Part

_CHUNK = 64
_SMALLEST_LOOK = 24  # pixels a side: in smaller images many different ones look alike


@dataclass(frozen=True)
class Seen:
    """One image: `exact` is a hash of its pixels, `look` one of its rough look, or None."""

    row: int
    width: int
    height: int
    mode: str
    exact: bytes
    look: int | None


@dataclass
class Inspection:
    """What the images of a part are. `mean` and `std` are of all pixels, in units of 1."""

    name: str
    counts: dict[str, int]
    seen: list[Seen] = field(default_factory=list)
    corrupt: list[ImageError] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    _pixels: int = 0
    _sum: NDArray[np.float64] | None = None
    _squares: NDArray[np.float64] | None = None

    def add(self, image: Seen, array: NDArray[np.generic]) -> None:
        """Count one image [H, W, C], whose pixels go from 0 to 1 or to 255."""
        self.seen.append(image)
        self.modes[image.mode] += 1
        self.sizes[image.width, image.height] += 1
        scale = 255.0 if array.dtype == np.uint8 else 1.0
        flat = array.reshape(-1, array.shape[2]).astype(np.float64) / scale
        total, squares = flat.sum(0), np.square(flat).sum(0)
        self._pixels += len(flat)
        if self._sum is None or self._squares is None or len(self._sum) != len(total):
            self._sum, self._squares = total, squares
        else:
            self._sum, self._squares = self._sum + total, self._squares + squares

    @property
    def mean(self) -> list[float]:
        """Of each channel."""
        return [] if self._sum is None else [float(x) for x in self._sum / self._pixels]

    @property
    def std(self) -> list[float]:
        """Of each channel."""
        if self._squares is None:
            return []
        variance = self._squares / self._pixels - np.square(self.mean)
        return [float(x) for x in np.sqrt(np.maximum(variance, 0))]


def inspect(part: Part, name: str, progress: Progress | None = None) -> Inspection:
    """Read every image of a part; what cannot be read is noted, not raised."""
    labels = part.labels.tolist()
    counts = Counter(part.names[label] for label in labels if label >= 0)
    found = Inspection(name, {each: counts.get(each, 0) for each in part.names})
    records = part.records
    with no_warnings(), ThreadPoolExecutor(4) as pool:
        for start in range(0, len(records), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(records)))
            batch = [records[row] for row in rows]
            opened = [opened_or_problem(record) for record in batch]
            for result in pool.map(_look, rows, opened, [record.where for record in batch]):
                if isinstance(result, ImageError):
                    found.corrupt.append(result)
                else:
                    found.add(*result)
            if progress is not None:
                progress(rows.stop, len(records))
    return found


def _look(
    row: int, raw: Raw | ImageError, where: str
) -> tuple[Seen, NDArray[np.generic]] | ImageError:
    if isinstance(raw, ImageError):
        return raw
    if isinstance(raw, Tensor):
        array: NDArray[np.generic] = raw.numpy()
        mode = f"{array.dtype} × {array.shape[2]}"
    else:
        mode = raw.mode
        try:
            array = whole(raw, where)
        except ImageError as problem:
            return problem
    height, width = array.shape[:2]
    return Seen(row, width, height, mode, _exact(array), _rough(array)), array


def _exact(array: NDArray[np.generic]) -> bytes:
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _rough(array: NDArray[np.generic]) -> int | None:
    """A difference hash: whether each of 8 × 8 places is brighter than its right neighbour.

    It survives another size, format or compression. None for images that are too small, not
    8-bit, or without any contrast between the places.
    """
    if min(array.shape[:2]) < _SMALLEST_LOOK or array.dtype != np.uint8 or array.shape[2] != 3:
        return None
    picture = Image.fromarray(np.ascontiguousarray(array)).convert("L")
    small = np.asarray(picture.resize((9, 8), Image.Resampling.BILINEAR)).astype(np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    if bool((np.abs(np.diff(small, axis=1)) < 3).mean() > 0.75):
        return None  # nearly flat: noise decides
    return int.from_bytes(bits.tobytes(), "big")
