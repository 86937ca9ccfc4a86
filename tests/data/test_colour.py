from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional

from dots.common.seeding import generator
from dots.data.augment.colour import ColourDraws, ColourJitter

CHANGES = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def one_by_one(images: Tensor, draws: ColourDraws) -> Tensor:
    """torchvision's changes, image by image."""
    changed = []
    for image, factors, order in zip(images, draws.factors, draws.order, strict=True):
        for which in order.tolist():
            image = CHANGES[which](image, float(factors[which]))
        changed.append(image)
    return torch.stack(changed)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torchvision_image_by_image(channels: int) -> None:
    images = torch.rand(32, channels, 7, 6)
    images[0] = 0.5  # grey: no hue
    draws = ColourJitter().draw(32, generator(0, "colour"))
    assert len({tuple(order) for order in draws.order.tolist()}) > 8
    before = images.clone()
    torch.testing.assert_close(draws.apply(images), one_by_one(images, draws), rtol=0, atol=1e-5)
    assert torch.equal(images, before), "the images that were given stay"


def test_any_number_of_channels() -> None:
    changed = ColourJitter().draw(4, generator(0, "colour")).apply(torch.rand(4, 5, 6, 6))
    assert changed.shape == (4, 5, 6, 6)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


def test_factors_are_in_their_ranges() -> None:
    draws = ColourJitter(brightness=0.4, contrast=2.0, hue=0.2).draw(2000, generator(0, "c"))
    low, high = draws.factors.min(0).values, draws.factors.max(0).values
    assert low[0] == pytest.approx(0.6, abs=0.01)
    assert high[0] == pytest.approx(1.4, abs=0.01)
    assert low[1] == 0
    assert high[1] == pytest.approx(3, abs=0.01)
    assert low[3] == pytest.approx(-0.2, abs=0.01)
    assert high[3] == pytest.approx(0.2, abs=0.01)


def test_a_part_has_its_own_numbers() -> None:
    draws = ColourJitter().draw(8, generator(0, "colour"))
    images = torch.rand(8, 3, 4, 4)
    assert torch.equal(draws.part(2, 5).apply(images[2:5]), draws.apply(images)[2:5])
