from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from dots.common.seeding import generator
from dots.data.augment.crops import CropChoice, resized_crops


def naive_box(uniforms: list[list[float]], height: int, width: int) -> list[int]:
    """The published algorithm (torchvision's RandomResizedCrop), one attempt after another."""
    for area, aspect, row, column in uniforms:
        wanted = height * width * (0.08 + (1 - 0.08) * area)
        low, high = math.log(3 / 4), math.log(4 / 3)
        ratio = math.exp(low + (high - low) * aspect)
        wide, tall = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            top = int(row * (height - tall + 1))
            left = int(column * (width - wide + 1))
            return [top, left, tall, wide]
    ratio = width / height
    tall, wide = height, width
    if ratio < 3 / 4:
        tall = round(width / (3 / 4))
    elif ratio > 4 / 3:
        wide = round(height * (4 / 3))
    return [(height - tall) // 2, (width - wide) // 2, tall, wide]


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 1000))
def test_boxes_are_those_of_the_published_algorithm(height: int, width: int, seed: int) -> None:
    choice = CropChoice.draw(5, generator(seed, "crops"))
    expected = [naive_box(image, height, width) for image in choice.uniforms.tolist()]
    assert choice.boxes(height, width).tolist() == expected
    for place, (top, left, tall, wide) in enumerate(expected):
        box = choice.chooser(place)(width, height)
        assert box == (left, top, left + wide, top + tall)
        assert 0 <= top <= top + tall <= height
        assert 0 <= left <= left + wide <= width


@pytest.mark.parametrize("size", [8, 15, 32])
def test_crops_are_stretched_as_images_of_their_own(size: int) -> None:
    images = torch.randint(0, 256, (6, 3, size, size), dtype=torch.uint8)
    boxes = CropChoice.draw(6, generator(1, "crops")).boxes(size, size)
    boxes[0] = torch.tensor((0, 0, size, size))
    boxes[1] = torch.tensor((size - 1, 0, 1, size))
    found = resized_crops(images, boxes)
    for image, (top, left, tall, wide), crop in zip(images, boxes.tolist(), found, strict=True):
        piece = image[None, :, top : top + tall, left : left + wide].float()
        expected = interpolate(piece, (size, size), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(crop, expected, rtol=0, atol=2e-3)
    assert torch.allclose(found[0], images[0].float(), atol=1e-3)
