"""Images: where they come from, how they are split, and what the network sees of them."""

from dots.data.augment.augment import Augmentation, Transform
from dots.data.augment.colour import ColourJitter
from dots.data.batch import Batch
from dots.data.batches import Batches
from dots.data.decode import ImageError
from dots.data.images import ImageData, ImageSet, ResidentImages, StreamedImages
from dots.data.info import DataInfo
from dots.data.open import RESIDENT_BYTES, open_data, open_test
from dots.data.pictures import pngs, prepare
from dots.data.sources.read import read_source
from dots.data.survey import class_weights

__all__ = [
    "RESIDENT_BYTES",
    "Augmentation",
    "Batch",
    "Batches",
    "ColourJitter",
    "DataInfo",
    "ImageData",
    "ImageError",
    "ImageSet",
    "ResidentImages",
    "StreamedImages",
    "Transform",
    "class_weights",
    "open_data",
    "open_test",
    "pngs",
    "prepare",
    "read_source",
]
