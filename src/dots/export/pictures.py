"""From an image file to 8-bit pixels as in the training, and a command line. Needs Pillow alone.

This text is copied into exported programs, so that they prepare images without DOTS. It repeats
`dots.data.decode` in few lines, and every export is compared with that on real files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def picture(path: str, preprocessing: dict[str, Any]) -> Image.Image:
    """The image at `path` upright, its middle square cut and resized, in grey or in RGB.

    `preprocessing` has timm's keys: of `input_size` (channels, height, width) and `crop_pct`.
    """
    channels, size, _ = preprocessing["input_size"]
    with Image.open(path) as image:
        image.load() if image.format not in ("JPEG", "MPO") else None
        orientation = image.getexif().get(0x0112, 1)
        width, height = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
        side = max(1.0, min(width, height) * preprocessing["crop_pct"])
        left, top = (width - side) // 2, (height - side) // 2
        share = 2 * size / side
        if share < 1 and image.format in ("JPEG", "MPO"):  # decoded at a half, quarter, eighth
            image.draft(None, (int(image.width * share) + 1, int(image.height * share) + 1))
        turn = _TURNS.get(orientation)
        flat = flattened(image.transpose(turn) if turn is not None else image, channels)
    across, down = flat.width / width, flat.height / height
    x, y = round(left * across), round(top * down)
    right, bottom = round((left + side) * across), round((top + side) * down)
    square = flat.crop((x, y, max(x + 1, right), max(y + 1, bottom)))
    if square.size == (size, size):
        return square
    return square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)


def flattened(image: Image.Image, channels: int) -> Image.Image:
    """The image in 8 bits a channel; what is transparent lies on white."""
    if image.mode.startswith("I"):  # 16 bits: 65535 becomes 255
        image = image.convert("I").point(lambda value: value * (1 / 257) + 128.5 / 257)
        image = image.convert("L")
    elif image.mode == "F":  # from 0 to 1
        image = image.point(lambda value: value * 255 + 0.5).convert("L")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("L" if channels == 1 else "RGB")


def plain(text: str) -> str:
    """A name on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def main(probabilities: Callable[[Sequence[str]], Any], classes: Sequence[str]) -> None:
    """Print the five most probable classes of each image file; with --json all probabilities.

    The paths are the arguments, or lines of the standard input where there are none.
    """
    words = [word for word in sys.argv[1:] if word != "--json"]
    paths = words or sys.stdin.read().splitlines()
    rows = [[float(p) for p in row] for row in probabilities(paths)]
    if "--json" in sys.argv:
        print(json.dumps(rows))
        return
    for path, row in zip(paths, rows, strict=True):
        best = sorted(zip(row, classes, strict=True), reverse=True)[:5]
        print(f"{plain(path)}: {', '.join(f'{plain(name)} {100 * p:.1f} %' for p, name in best)}")
