from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dots.common.errors import UserError
from dots.common.seeding import generator
from dots.data.augment.augment import Augmentation, Draws, Transform
from dots.data.augment.colour import ColourJitter
from dots.data.info import DataInfo

CPU = torch.device("cpu")


def info(size: int = 12, channels: int = 3) -> DataInfo:
    mean = tuple(0.3 + 0.1 * channel for channel in range(channels))
    std = tuple(0.2 + 0.05 * channel for channel in range(channels))
    return DataInfo("x", ("a", "b"), channels, size, mean, std, True)


def one_by_one(images: Tensor, draws: Draws, wanted: Augmentation, about: DataInfo) -> Tensor:
    """Crop, flip, normalise and cutout as published, one image after the other."""
    mean = torch.tensor(about.mean).view(-1, 1, 1)
    std = torch.tensor(about.std).view(-1, 1, 1)
    result = []
    for image, (top, left, flip, row, column) in zip(images, draws.whole.T.tolist(), strict=True):
        channels, height, width = image.shape
        pad = wanted.crop_padding
        padded = image.new_zeros(channels, height + 2 * pad, width + 2 * pad)
        padded[:, pad : pad + height, pad : pad + width] = image
        image = padded[:, top : top + height, left : left + width]
        image = image.flip(2) if flip else image
        unit = image.float() / 255 if image.dtype == torch.uint8 else image
        image = (unit - mean) / std
        half = wanted.cutout // 2
        rows = slice(max(row - half, 0), min(row + half, height))
        columns = slice(max(column - half, 0), min(column + half, width))
        if half:
            image[:, rows, columns] = 0
        result.append(image)
    return torch.stack(result)


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 40),
    size=st.integers(4, 14),
    channels=st.integers(1, 4),
    padding=st.integers(0, 5),
    flip=st.booleans(),
    cutout=st.integers(0, 20),
    seed=st.integers(0, 10_000),
)
def test_equals_the_published_augmentation_image_by_image(
    batch: int, size: int, channels: int, padding: int, flip: bool, cutout: int, seed: int
) -> None:
    wanted, about = Augmentation(padding, flip=flip, cutout=cutout), info(size, channels)
    draw = generator(seed, "test")
    images = torch.randint(0, 256, (batch, channels, size, size), dtype=torch.uint8, generator=draw)
    draws = wanted.draw(batch, size, draw)
    before = images.clone()
    transform = Transform(about, wanted, CPU)
    for given_images in (images, images.contiguous(memory_format=torch.channels_last)):
        found = transform(given_images, draws)
        expected = one_by_one(images, draws, wanted, about)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)
        assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before), "the images that were given stay"


def test_batches_of_changing_size_keep_a_black_border() -> None:
    wanted, about = Augmentation(4, flip=True), info()
    transform = Transform(about, wanted, CPU)
    for batch in (8, 3, 8):
        images = torch.full((batch, 3, 12, 12), 255, dtype=torch.uint8)
        draws = wanted.draw(batch, 12, generator(batch, "test"))
        expected = one_by_one(images, draws, wanted, about)
        torch.testing.assert_close(transform(images, draws), expected, rtol=1e-5, atol=2e-6)


def test_batches_that_are_normalised_in_pieces() -> None:
    wanted, about = Augmentation(4, flip=True, cutout=16), info(32)
    images = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8)
    draws = wanted.draw(70, 32, generator(0, "test"))
    expected = one_by_one(images, draws, wanted, about)
    found = Transform(about, wanted, CPU)(images, draws)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_floating_point_images_keep_their_units() -> None:
    wanted, about = Augmentation(2, flip=True, cutout=4), info()
    images = torch.randn(9, 3, 12, 12) * 5
    before = images.clone()
    draws = wanted.draw(9, 12, generator(0, "test"))
    found = Transform(about, wanted, CPU)(images, draws)
    expected = one_by_one(images, draws, wanted, about)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    only = Transform(about, None, CPU)(images, None)
    assert torch.equal(images, before)
    mean = torch.tensor(about.mean).view(-1, 1, 1)
    std = torch.tensor(about.std).view(-1, 1, 1)
    torch.testing.assert_close(only, (images - mean) / std)


def test_cutout_is_cut_off_at_the_border() -> None:
    wanted = Augmentation(cutout=6)
    about = info(channels=1)
    draws = Draws(torch.tensor([[0], [0], [0], [0], [11]]), None, None)
    found = Transform(about, wanted, CPU)(torch.full((1, 1, 12, 12), 255, dtype=torch.uint8), draws)
    cut = (found[0, 0] == 0).nonzero().tolist()
    assert cut == [[row, column] for row in range(3) for column in range(8, 12)]


def test_draws_cover_all_values_and_no_others() -> None:
    wanted = Augmentation(4, flip=True, cutout=8)
    whole = wanted.draw(4000, 10, generator(0, "test")).whole
    ranges = [9, 9, 2, 10, 10]
    assert [sorted(set(row)) for row in whole.tolist()] == [list(range(n)) for n in ranges]
    counts = torch.bincount(whole[0]).double() / 4000
    assert (counts - 1 / 9).abs().max() < 0.02
    assert float(whole[2].double().mean()) == pytest.approx(0.5, abs=0.03)


def test_crops_colours_and_flips_in_the_published_order() -> None:
    about = info()
    wanted = Augmentation(resized_crop=True, flip=True, colour=ColourJitter(), cutout=4)
    images = torch.randint(0, 256, (6, 3, 12, 12), dtype=torch.uint8)
    draws = wanted.draw(6, 12, generator(0, "test"))
    assert draws.crops is not None
    assert draws.colours is not None
    found = Transform(about, wanted, CPU)(images, draws)
    cropped = Transform(_plain(about), Augmentation(resized_crop=True), CPU)(
        images, Draws(draws.whole, draws.crops, None)
    )
    flipped = torch.where(draws.whole[2].view(-1, 1, 1, 1) == 1, cropped.flip(3), cropped)
    coloured = draws.colours.apply(flipped)
    unmoved = torch.cat((torch.zeros_like(draws.whole[:3]), draws.whole[3:]))
    cut = Draws(unmoved, None, None)
    expected = one_by_one(coloured, cut, Augmentation(cutout=4), about)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _plain(about: DataInfo) -> DataInfo:
    return DataInfo("x", ("a", "b"), 3, about.image_size, (0.0,) * 3, (1.0,) * 3, True)


def test_crops_taken_while_decoding_are_not_taken_again() -> None:
    wanted = Augmentation(resized_crop=True)
    images = torch.randint(0, 256, (4, 3, 12, 12), dtype=torch.uint8)
    draws = wanted.draw(4, 12, generator(0, "test"))
    transform = Transform(info(), wanted, CPU)
    assert torch.equal(transform(images, draws, cropped=True), transform(images, None))
    assert not torch.equal(transform(images, draws), transform(images, None))


def test_colour_jitter_wants_8_bit_images() -> None:
    wanted = Augmentation(colour=ColourJitter())
    draws = wanted.draw(2, 12, generator(0, "test"))
    with pytest.raises(UserError, match=r"8-bit images: set train\.colour_jitter=false"):
        Transform(info(), wanted, CPU)(torch.rand(2, 3, 12, 12), draws)
