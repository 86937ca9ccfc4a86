"""From what the user names to images that are split, decoded and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dots.common.errors import UserError
from dots.common.seeding import generator
from dots.data.decode import Geometry, ImageError
from dots.data.images import ImageData, ImageSet, ResidentImages, StreamedImages
from dots.data.info import DataInfo
from dots.data.load import Progress, load_all, visit
from dots.data.sources.read import Spec, has_columns, is_table, read_source, where
from dots.data.sources.records import as_tensor
from dots.data.sources.source import Part, aligned, shortlist
from dots.data.sources.table import Columns, group_numbers
from dots.data.splits import Holdout, halves, limited, saved_test
from dots.data.survey import moments, survey
from dots.recipe import DataSettings

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


RESIDENT_BYTES = 4 * 2**30
"""Sets whose decoded images take more than this are streamed from disk."""

MEASURED = 2_000  # so many streamed images are decoded for mean and deviation


def open_data(
    spec: Spec,
    settings: DataSettings,
    seed: int,
    *,
    splits_folder: Path | None,
    workers: int = 0,
    download: bool = True,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
    resident_bytes: int = RESIDENT_BYTES,
    save_split: bool = True,
) -> ImageData:
    """Open a data set: the classes, the splits, the images, ready for use.

    `spec` is a name ("digits", or one of torchvision's), the path of a folder of images, of a
    parquet file or a folder of them, of a `.npz` file, of a table of file names (CSV,
    parquet), or a dataset or a pair (training, test) of datasets. A name comes before a path of
    the same name: write ./digits for that.

    A source without a test part is split, and the split kept in `splits_folder`. Classes,
    channels, image size, mean and deviation come from the training part alone. Sets up to
    `resident_bytes` are decoded here (`progress` is told how far) and kept in memory; larger
    ones are decoded when read, and then a corrupt image is found only when it is read,
    unless `skip_corrupt`, which decodes every image once to find them. `workers` says how
    many processes will decode those (see Batches; it changes nothing here but the notices).
    Of several processes that open the same data only one may `save_split`.

    Raises UserError for whatever is wrong with the source, naming it; nothing is written then.
    """
    source = read_source(
        spec, download=download, skip_corrupt=skip_corrupt, columns=Columns.of(settings)
    )
    train, test, holdout = source.train, source.test, None
    if test is None:
        fraction = settings.test_fraction
        groups = group_numbers(source.groups, [train.records[k].path for k in range(len(train))])
        holdout = Holdout.choose(train, fraction, seed, splits_folder, source.name, groups)
        train, test = holdout.train, holdout.test
    train = limited(train, settings.limit, seed)
    found = survey(train.records, skip_corrupt=skip_corrupt)
    size = settings.image_size or min(found.image_size, settings.largest_size)
    loader = Loader.choose(
        (train, test),
        found.channels,
        size,
        skip_corrupt=skip_corrupt,
        progress=progress,
        resident_bytes=resident_bytes,
        workers=workers,
    )
    train_set, test_set = loader.load(train, training=True), loader.load(test, training=False)
    mean, std = _moments(train_set, seed)
    info = DataInfo(
        name=source.name,
        classes=source.classes,
        channels=found.channels,
        image_size=size,
        mean=mean,
        std=std,
        flip=source.flip if settings.flip is None else settings.flip,
        centre=loader.geometry.centre,
    )
    half_a, half_b = halves(
        train_set.labels,
        seed,
        weight_fraction=settings.weight_fraction,
        arch_fraction=settings.arch_fraction,
        limit=settings.search_limit,
        groups=group_numbers(source.groups, [train_set.path(k) for k in range(len(train_set))]),
    )
    if holdout is not None and save_split:
        holdout.save()
    notices = (*source.notices, *loader.notices)
    return ImageData(info, train_set, test_set, half_a, half_b, notices, where(spec))


def open_test(
    spec: Spec,
    info: DataInfo,
    *,
    splits_folder: Path | None = None,
    download: bool = True,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
    resident_bytes: int = RESIDENT_BYTES,
    columns: Columns = Columns(),  # noqa: B008  # it is frozen
) -> tuple[ImageSet, tuple[str, ...]]:
    """Open images on which to test a network that was trained on data described by `info`.

    They are the test part of the source. Where it has none, they are what splits.json in
    `splits_folder` holds out (give it for the network's own data only), or without that all
    images. Labels are those of `info`, matched by class name; size and channels too. `columns`
    are those of the data, where the source has columns.

    Returns the images and lines that the user should see. Raises UserError as open_data, and
    where no class is the network's.
    """
    if not is_table(spec):  # classes are matched by name, whatever the columns were
        columns = Columns(columns.label if has_columns(spec) else None)
    source = read_source(spec, download=download, skip_corrupt=skip_corrupt, columns=columns)
    test = source.test
    if test is None:
        test = source.train if splits_folder is None else saved_test(source.train, splits_folder)
    said: list[str] = []
    test = aligned(test, info.classes, source.name, said)
    loader = Loader.choose(
        (test,),
        info.channels,
        info.image_size,
        skip_corrupt=skip_corrupt,
        progress=progress,
        resident_bytes=resident_bytes,
        workers=0,
    )
    loader.geometry = replace(loader.geometry, centre=info.centre)
    images = loader.load(test, training=False)
    return images, (*source.notices, *said, *loader.notices)


def _moments(images: ImageSet, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of all resident, or of some streamed training images."""
    if isinstance(images, ResidentImages):
        return moments(images.pixels)
    rows = torch.randperm(len(images), generator=generator(seed, "moments"))[:MEASURED]
    return moments(images.read(rows.sort().values).permute(0, 2, 3, 1))
