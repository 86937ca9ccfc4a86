from __future__ import annotations

import contextlib
import io
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dots.data.decode import (
    Geometry,
    ImageError,
    Uint8,
    is_grayscale,
    no_warnings,
    open_image,
    pixels,
    whole,
)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def decoded(content: bytes, size: int = 4, channels: int = 3, centre: float = 1.0) -> Uint8:
    with no_warnings():
        return pixels(open_image(content, "'x'"), Geometry(size, channels, centre), "'x'")


RAMP = np.linspace(0, 255, 16).round().astype(np.uint8).reshape(4, 4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_gives_its_picture(mode: str, channels: int) -> None:
    if mode == "I;16":
        image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    elif mode == "1":
        image = Image.fromarray(RAMP).convert("1", dither=Image.Dither.NONE)
    else:
        image = Image.fromarray(RAMP).convert("RGB" if mode == "P" else mode)
        image = image.quantize(16) if mode == "P" else image
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    found = decoded(encoded(image, form), channels=channels)
    assert found.shape == (4, 4, channels)
    assert found.dtype == np.uint8
    expected = np.where(RAMP >= 128, 255, 0) if mode == "1" else RAMP
    tolerance = {"P": 9, "YCbCr": 2}.get(mode, 0)
    assert np.abs(found.astype(int) - expected[..., None]).max() <= tolerance


def test_16_bits_are_scaled_and_not_cut_off() -> None:
    values = np.array([[0, 128, 257, 65_535], [32_768, 65_406, 1, 60_000]], dtype=np.uint16)
    image = Image.fromarray(np.vstack([values, values]))
    found = decoded(encoded(image), channels=1)[:2, :, 0]
    assert found.tolist() == np.rint(values / 257).astype(int).tolist()


@pytest.mark.parametrize("form", ["TIFF", "PPM"])
def test_16_bits_of_other_formats(form: str) -> None:
    image = Image.fromarray(np.full((4, 4), 65_535, dtype=np.uint16))
    if form == "PPM":
        content = b"P5 4 4 65535\n" + b"\xff\xff" * 16
    else:
        content = encoded(image, form)
    assert (decoded(content, channels=1) == 255).all()


def test_floating_point_from_0_to_1() -> None:
    image = Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32))
    assert (decoded(encoded(image, "TIFF"), channels=1) == 128).all()
    with pytest.raises(ImageError, match="floating-point pixels are not all from 0 to 1"):
        decoded(encoded(Image.fromarray(np.full((4, 4), 7, dtype=np.float32)), "TIFF"))


def test_32_bits_beyond_16_are_refused_with_the_name() -> None:
    image = Image.fromarray(np.full((4, 4), 70_000, dtype=np.int32))
    with pytest.raises(ImageError, match="cannot read the image 'x': its 32-bit pixels"):
        decoded(encoded(image, "TIFF"))


def test_transparent_pixels_are_white() -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    found = decoded(encoded(image))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert (found[1:] == 255).all()


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_transparent_palette_entries_are_white(transparency: object) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((0, 0), 1)
    found = decoded(encoded(image, transparency=transparency))
    assert found[0, 0].tolist() == [0, 0, 200]
    assert (found[1:] == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transparent_colour_of_a_png_is_white(mode: str) -> None:
    image = Image.new(mode, (4, 4), 7 if mode == "L" else (7, 8, 9))
    content = encoded(image, transparency=7 if mode == "L" else (7, 8, 9))
    assert (decoded(content) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = Image.fromarray(np.kron(RAMP, np.ones((8, 8), dtype=np.uint8)))
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        found = decoded(encoded(stored, form, exif=exif, **options), channels=1)
        assert np.abs(found[..., 0].astype(int) - RAMP).max() < 20, form


def test_damaged_orientation_is_no_problem() -> None:
    content = encoded(
        Image.fromarray(RAMP), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05"
    )
    assert decoded(content).shape == (4, 4, 3)


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (41, 20), (3, 90)])
def test_the_middle_square_is_shown(size: tuple[int, int]) -> None:
    image = Image.new("L", size, 0)
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image.paste(200, (left, top, left + side, top + side))
    assert (decoded(encoded(image), size=8, channels=1) == 200).all()


def test_the_centre_share() -> None:
    image = Image.new("L", (80, 80), 0)
    image.paste(200, (5, 5, 75, 75))
    assert (decoded(encoded(image), size=8, channels=1, centre=0.875) == 200).all()
    assert not (decoded(encoded(image), size=8, channels=1) == 200).all()


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = decoded(encoded(Image.fromarray(stripes)), size=8, channels=1)
    assert np.abs(found.astype(int) - 127).max() <= 2


def test_a_jpeg_shrunk_while_decoding_looks_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    large = Image.fromarray(noise).resize((512, 384), Image.Resampling.BICUBIC)
    jpeg = decoded(encoded(large, "JPEG", quality=95), size=16, channels=1)
    png = decoded(encoded(large), size=16, channels=1)
    assert np.abs(jpeg.astype(int) - png).max() <= 6


def test_grayscale_by_mode_and_palette() -> None:
    gray = Image.fromarray(RAMP)
    for mode in ("1", "L", "LA"):
        assert is_grayscale(gray.convert(mode)), mode
    assert is_grayscale(gray.convert("P")), "a grey palette"
    assert is_grayscale(Image.fromarray(RAMP.astype(np.uint16)))
    assert not is_grayscale(gray.convert("RGB"))
    assert not is_grayscale(Image.new("RGB", (2, 2), "red").quantize(2))


def test_no_image_and_an_archive() -> None:
    for content in (b"", b"hello", b"PK\x03\x04" + b"\0" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        with pytest.raises(ImageError, match="'x': it is no image; mend or remove it"):
            open_image(content, "'x'")


def test_a_truncated_image_is_named_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "line\nbreak.png"
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)
    path.write_bytes(encoded(Image.fromarray(noise))[:1500])
    where = repr(str(path))
    with pytest.raises(ImageError) as caught:
        pixels(open_image(path, where), Geometry(8, 1), where)
    assert "line\\nbreak.png" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--skip-corrupt" in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    content = bytearray(encoded(Image.new("1", (8, 8))))
    for side in (60_000, 10_000):  # of these Pillow refuses the one and warns of the other
        content[16:24] = side.to_bytes(4, "big") * 2
        crc = zlib.crc32(bytes(content[12:29]))
        content[29:33] = crc.to_bytes(4, "big")
        with pytest.raises(ImageError, match="more than 89478485 pixels"):
            open_image(bytes(content), "'x'")


def test_a_network_of_other_channels() -> None:
    with pytest.raises(ImageError, match="cannot give 13 channels"):
        decoded(encoded(Image.fromarray(RAMP)), channels=13)


_NOISE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
_SEEDS = {
    form: encoded(Image.fromarray(_NOISE), form)
    for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
}


@pytest.mark.parametrize("form", sorted(_SEEDS))
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_raise_nothing_else(form: str, data: st.DataObject) -> None:
    content = bytearray(_SEEDS[form])
    places = st.integers(0, min(len(content), 400) - 1)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), max_size=6)).items():
        content[place] = value
    length = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    with contextlib.suppress(ImageError):
        assert decoded(bytes(content[:length])).shape == (4, 4, 3)


HEIC = b"\0\0\0\x18ftypheic" + bytes(100)


def test_a_photograph_of_a_phone_names_the_extra_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC)
    for source in (HEIC, tmp_path / "IMG_1.HEIC"):
        with pytest.raises(ImageError, match=r"pip install 'dots-nas\[heif\]'; mend or remove"):
            open_image(source, "IMG_1.HEIC")


def test_a_photograph_of_a_phone_is_read_with_the_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heif' is not installed")
    colours = np.zeros((40, 60, 3), np.uint8)
    colours[:, 30:] = (250, 120, 10)
    heif.from_pillow(Image.fromarray(colours)).save(tmp_path / "IMG_1.HEIC", quality=95)
    found = whole(open_image(tmp_path / "IMG_1.HEIC", "it"), "it")
    assert np.abs(found.astype(int) - colours).mean() < 6
    content = bytearray((tmp_path / "IMG_1.HEIC").read_bytes())
    draw = np.random.default_rng(0)
    for cut in (30, 100, len(content) // 2):
        with pytest.raises(ImageError):
            whole(open_image(bytes(content[:cut]), "it"), "it")
    for _ in range(40):
        damaged = content.copy()
        damaged[draw.integers(12, len(content))] ^= 255
        with contextlib.suppress(ImageError):
            whole(open_image(bytes(damaged), "it"), "it")
    with pytest.raises(ImageError, match="a damaged HEIC photograph"):
        open_image(HEIC, "it")
