"""From a file to 8-bit pixels: every image mode, any size, upright, square.

Nothing here trusts the file: an image that is too large, broken, or no image raises
ImageError, which names it.
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from dots.common.errors import UserError

MAX_PIXELS = 89_478_485
"""The largest image that is opened (the size from which Pillow warns of a bomb)."""

# Only formats that are decoded in-process: some other readers of Pillow call programs.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "MPO", "JPEG2000", "AVIF")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's readers raise on damaged files (found by flipping bytes)."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the upright image."""

Uint8 = NDArray[np.uint8]


class ImageError(UserError):
    """An image that cannot be used. `where` names it on one line, `reason` says why."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = " ".join(reason.split())
        remedy = "mend or remove it, or leave such images out with --skip-corrupt"
        super().__init__(f"cannot read the image {where}: {self.reason}; {remedy}")

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        """Exceptions with two arguments need this to cross a process border."""
        return ImageError, (self.where, self.reason)


@dataclass(frozen=True)
class Geometry:
    """What every image becomes: `channels` × `size` × `size`, of the middle `centre`."""

    size: int
    channels: int
    centre: float = 1.0


@contextmanager
def no_warnings() -> Iterator[None]:
    """Keep silent what image readers say of odd metadata.

    Filters of warnings belong to the whole process: use it in one thread, around whatever the
    other threads do.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_image(source: str | Path | bytes, where: str) -> Image.Image:
    """Open an image by its header, without decoding it; close it after use.

    Call it from one thread at a time: it sets warning filters for its duration.

    Raises ImageError where the content is no image of a known format, or an image of more
    than MAX_PIXELS pixels.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with no_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image: Image.Image = Image.open(file, formats=_formats())
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise ImageError(where, f"it has more than {MAX_PIXELS} pixels") from None
        except UnidentifiedImageError:
            if not _is_heif(file):
                raise ImageError(where, "it is no image") from None
            image = _open_heif(file, where)
        except BROKEN as error:
            raise ImageError(where, str(error) or type(error).__name__) from None
    if image.width * image.height > MAX_PIXELS:  # the user may have lifted Pillow's limit
        image.close()
        raise ImageError(where, f"it has more than {MAX_PIXELS} pixels")
    return image


def _is_heif(file: io.BytesIO | str | Path) -> bool:
    """Whether this is a photograph as phones save them: by its first box, not its name."""
    if isinstance(file, io.BytesIO):
        start = file.getvalue()[:12]
    else:
        with open(file, "rb") as opened:
            start = opened.read(12)
    return start[4:8] == b"ftyp" and start[8:] in _HEIF_BRANDS


def _open_heif(file: io.BytesIO | str | Path, where: str) -> ImageFile.ImageFile:
    try:
        import pillow_heif
    except ImportError:
        raise ImageError(
            where, "it is a HEIC photograph, which needs pip install 'dots-nas[heif]'"
        ) from None
    pillow_heif.register_heif_opener()
    try:
        return Image.open(file, formats=("HEIF",))
    except UnidentifiedImageError:
        raise ImageError(where, "it is a damaged HEIC photograph") from None


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def is_grayscale(image: Image.Image) -> bool:
    """Whether the mode of an opened image, or its palette, holds no colour."""
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def pixels(
    image: Image.Image,
    geometry: Geometry,
    where: str,
    choose: Callable[[int, int], Box] | None = None,
) -> Uint8:
    """Decode an opened image into [size, size, channels] and close it.

    `choose(width, height)` returns the box to show, stretched to the square (a random resized
    crop); without it the middle square of side `centre` · min(width, height) is shown. The
    resampling is bilinear and antialiased. Transparent pixels lie on white. 16-bit values are
    divided by 257, so that 0 … 65535 becomes 0 … 255. Raises ImageError.
    """
    if geometry.channels not in (1, 3):
        raise ImageError(where, f"a picture cannot give {geometry.channels} channels")
    try:
        with image:
            width, height = _upright_size(image)
            box = choose(width, height) if choose else _middle(width, height, geometry.centre)
            _draft(image, box, geometry.size)
            upright = _upright(image)
            flat = _flatten(upright, "L" if geometry.channels == 1 else "RGB")
            scale_x, scale_y = flat.width / width, flat.height / height
            box = (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
            array = np.asarray(_square(flat, box, geometry.size))
    except ImageError as error:
        raise ImageError(where, error.reason) from None
    except BROKEN as error:
        raise ImageError(where, str(error) or type(error).__name__) from None
    return array.reshape(*array.shape[:2], geometry.channels)


def _middle(width: int, height: int, centre: float) -> Box:
    side = max(1.0, min(width, height) * centre)
    left, top = (width - side) // 2, (height - side) // 2
    return (left, top, left + side, top + side)


def _square(image: Image.Image, box: Box, size: int) -> Image.Image:
    """The box, to whole pixels, as a square: pixels outside of it do not count."""
    left, top = round(box[0]), round(box[1])
    whole = (left, top, max(left + 1, round(box[2])), max(top + 1, round(box[3])))
    if whole != (0, 0, *image.size):
        image = image.crop(whole)
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)


def _draft(image: Image.Image, box: Box, size: int) -> None:
    """Let a JPEG decoder shrink by 2, 4 or 8 while the box keeps twice the wanted pixels."""
    if image.format not in ("JPEG", "MPO"):
        return
    share = 2 * size / min(box[2] - box[0], box[3] - box[1])
    if share < 1:
        image.draft(None, (int(image.width * share) + 1, int(image.height * share) + 1))


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright."""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except (*BROKEN, Warning):  # damaged metadata do not make a picture unreadable
        return 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if image.format not in ("JPEG", "MPO"):
        image.load()  # other formats may hold their orientation behind the pixels
    turned = _orientation(image) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else (image.width, image.height)


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """The image in 8 bits per channel, without transparency, in mode "L" or "RGB"."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode == "La":  # Pillow converts premultiplied grayscale to LA only
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit integers, or floating-point numbers from 0 to 1, in 8 bits.

    The scale is fixed, never taken from the image: brightness must stay comparable.
    """
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ImageError("", "its floating-point pixels are not all from 0 to 1")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if values.min() < 0 or values.max() > 65_535:
        raise ImageError("", "its 32-bit pixels are not all from 0 to 65535")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def whole(image: Image.Image, where: str) -> Uint8:
    """Decode an opened image in its own size into [H, W, 3], upright, and close it.

    Transparency and depth as in `pixels`. Raises ImageError.
    """
    try:
        with image:
            image.load()
            array = np.asarray(_flatten(_upright(image), "RGB"))
    except ImageError as error:
        raise ImageError(where, error.reason) from None
    except BROKEN as error:
        raise ImageError(where, str(error) or type(error).__name__) from None
    return array
