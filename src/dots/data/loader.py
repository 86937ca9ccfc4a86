"""Parts become image sets: resident where they fit, else streamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dots.common.errors import UserError
from dots.data.decode import Geometry, ImageError
from dots.data.images import ImageSet, ResidentImages, StreamedImages
from dots.data.load import Progress, load_all, visit
from dots.data.sources.records import as_tensor
from dots.data.sources.source import Part, shortlist

STREAMED_CENTRE = 0.875


@dataclass
class Loader:
    """Makes image sets of parts, resident or streamed, and notes what the user should know."""

    geometry: Geometry
    resident: bool
    skip_corrupt: bool
    progress: Progress | None
    notices: list[str]

    @staticmethod
    def choose(
        parts: Sequence[Part],
        channels: int,
        size: int,
        *,
        skip_corrupt: bool,
        progress: Progress | None,
        resident_bytes: int,
        workers: int,
    ) -> Loader:
        """Resident if the decoded parts take up to `resident_bytes`, or are arrays already."""
        arrays = [as_tensor(part.records) for part in parts]
        count = sum(map(len, parts))
        needed = count * channels * size * size
        if any(array is not None and array.is_floating_point() for array in arrays):
            needed *= 4
        resident = needed <= resident_bytes or all(array is not None for array in arrays)
        what = f"{count} images of {channels}×{size}×{size}"
        if resident:
            notice = f"{what} take {_size(needed)}: decoded once and kept in memory"
        else:
            how = f"by {workers} worker processes" if workers else "as they are used"
            notice = (
                f"{what} would take {_size(needed)}, more than {_size(resident_bytes)}: "
                f"streamed from disk, decoded {how}"
            )
        geometry = Geometry(size, channels, 1.0 if resident else STREAMED_CENTRE)
        return Loader(geometry, resident, skip_corrupt, progress, [notice])

    def load(self, part: Part, *, training: bool) -> ImageSet:
        """Decode a part, or check it where corrupt images are to be skipped.

        UserError where all images of a training class, or all of the test, are left out.
        """
        images, problems = self._load(part) if self.resident else self._stream(part)
        self.notices += [f"left out {p.where}: {p.reason}" for p in problems]
        before = torch.bincount(part.labels, minlength=len(part.names))
        after = torch.bincount(images.labels, minlength=len(part.names))
        lost = ((before > 0) & (after == 0)).nonzero().flatten().tolist()
        if not lost:
            return images
        names = shortlist([part.names[label] for label in lost])
        if training or not len(images):
            raise UserError(
                f"nothing is left of the classes {names} without their corrupt images, of which "
                f"one is {problems[0].where}: mend them, or remove the classes"
            )
        self.notices.append(f"classes without test images: {names}")
        return images

    def _load(self, part: Part) -> tuple[ImageSet, list[ImageError]]:
        pixels, rows, problems = load_all(
            part.records,
            self.geometry,
            skip_corrupt=self.skip_corrupt,
            progress=self.progress,
        )
        paths = tuple(part.records[row].path for row in rows.tolist())
        labels = part.labels[rows]
        return ResidentImages(pixels, labels, paths if any(paths) else None), problems

    def _stream(self, part: Part) -> tuple[ImageSet, list[ImageError]]:
        problems: list[ImageError] = []
        if self.skip_corrupt:
            good: list[int] = []
            problems = visit(
                part.records,
                self.geometry,
                lambda row, image: good.append(row),
                skip_corrupt=True,
                progress=self.progress,
            )
            part = part.select(torch.tensor(good, dtype=torch.int64))
        return StreamedImages(part.records, part.labels, self.geometry), problems


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, count >> 20)} MiB"
