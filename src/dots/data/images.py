"""Images that can be read by number: resident in memory, or streamed from disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dots.data.augment.crops import CropChoice
from dots.data.decode import Geometry, no_warnings
from dots.data.info import DataInfo
from dots.data.load import decode
from dots.data.sources.records import Records


class ImageSet(ABC):
    """`labels` [N] int64 on the CPU, and images of one size, read by row number."""

    labels: Tensor

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the images are, and where `read` wants its rows."""

    @abstractmethod
    def read(self, rows: Tensor, crops: CropChoice | None = None) -> Tensor:
        """Images [B, C, H, W] in channels-last memory, uint8 or float32 (arrays of floats).

        `rows` is [B] int64. `crops` holds the random crops of the B images where they are to
        be taken while decoding; only streamed images do that.
        """

    @abstractmethod
    def path(self, row: int) -> str | None:
        """The file of an image, if it has one of its own."""

    @abstractmethod
    def to(self, device: torch.device) -> ImageSet:
        """The set with its images on `device`, if they are in memory at all."""


class ResidentImages(ImageSet):
    """Decoded once, kept in memory or on the device: `pixels` [N, H, W, C]."""

    def __init__(
        self, pixels: Tensor, labels: Tensor, paths: tuple[str | None, ...] | None = None
    ) -> None:
        self.pixels = pixels
        self.labels = labels
        self.paths = paths

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.pixels.device

    def read(self, rows: Tensor, crops: CropChoice | None = None) -> Tensor:
        """See ImageSet. Crops are ignored: whoever asked for them takes them afterwards."""
        return self.pixels.index_select(0, rows).permute(0, 3, 1, 2)

    def path(self, row: int) -> str | None:
        """See ImageSet."""
        return None if self.paths is None else self.paths[row]

    def to(self, device: torch.device) -> ResidentImages:
        """See ImageSet."""
        return ResidentImages(self.pixels.to(device), self.labels, self.paths)


class StreamedImages(ImageSet):
    """Decoded whenever they are read, cut from the picture in its full resolution."""

    def __init__(self, records: Records, labels: Tensor, geometry: Geometry) -> None:
        self.records = records
        self.labels = labels
        self.geometry = geometry

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def read(self, rows: Tensor, crops: CropChoice | None = None) -> Tensor:
        """See ImageSet. Raises ImageError for an image that cannot be decoded."""
        images = []
        with no_warnings():
            for place, row in enumerate(rows.tolist()):
                choose = None if crops is None else crops.chooser(place)
                record = self.records[row]
                images.append(decode(record.open(), self.geometry, record.where, choose))
        return torch.stack(images).permute(0, 3, 1, 2)

    def path(self, row: int) -> str | None:
        """See ImageSet."""
        return self.records[row].path

    def to(self, device: torch.device) -> StreamedImages:
        """Itself: streamed images are not kept."""
        return self


@dataclass(frozen=True)
class ImageData:
    """A data set, ready for use.

    `half_a` and `half_b` are rows of `train` [A], [B] int64: the halves of the search. The
    derived network trains on all of `train`. `test` steers nothing. `notices` are lines that
    the user should see; `where` says what the data were opened from.
    """

    info: DataInfo
    train: ImageSet
    test: ImageSet
    half_a: Tensor
    half_b: Tensor
    notices: tuple[str, ...] = ()
    where: str = ""

    def to(self, device: torch.device) -> ImageData:
        """The data with resident images moved to `device`, where they fit.

        On a CUDA device they may take half of the free memory; else they stay in main memory,
        a notice says so, and batches are copied one by one.
        """
        sets = [images for images in (self.train, self.test) if isinstance(images, ResidentImages)]
        needed = sum(images.pixels.nbytes for images in sets)
        if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] // 2:
            notice = f"the images stay in main memory: {needed >> 20} MiB do not fit on {device}"
            return replace(self, notices=(*self.notices, notice))
        return replace(self, train=self.train.to(device), test=self.test.to(device))
