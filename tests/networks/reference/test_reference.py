"""Reference networks: their published sizes, and that they train like a derived network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dots.common.errors import UserError
from dots.networks.reference import REFERENCES, build_reference, reference_cost
from dots.networks.reference.architectures import SHUFFLENET_GROUPS, _shuffle

LIGHT = sorted(set(REFERENCES) - {"densenet_bc"})


@pytest.mark.parametrize(
    ("name", "millions", "multiply_adds"),
    [
        ("inception_v1", 6.6, None),  # 1,448 M printed: 5×5 convolutions, no batch norm
        ("mobilenet", 4.2, 569),
        ("shufflenet_v1", 5.4, 524),
        ("shufflenet_v2", 7.4, None),  # 591 M printed, 583 M as torchvision builds it
        ("mnasnet", 4.4, None),  # MnasNet-92 has 388 M, B1 the 315 M counted
        ("proxylessnas", 7.1, 465),
    ],
)
def test_sizes_on_imagenet_are_the_printed_ones(
    name: str, millions: float, multiply_adds: int | None
) -> None:
    cost = reference_cost(name, 1000, 3, 224)
    assert abs(cost.parameters / 1e6 - millions) < 0.0508
    if multiply_adds is not None:
        assert round(cost.multiply_adds / 1e6) == multiply_adds


def test_densenet_has_25_6_million_weights_on_cifar() -> None:
    assert round(reference_cost("densenet_bc", 10, 3, 32).parameters / 1e6, 1) == 25.6


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (4, 33)])
def test_any_channels_and_small_sizes_give_every_weight_a_gradient(
    name: str, channels: int, side: int
) -> None:
    torch.manual_seed(0)
    network = build_reference(name, 3, channels, side).train()
    network.drop_path = 0.1
    logits, extra = network.forward_with_auxiliary(torch.randn(3, channels, side, side))
    assert extra is None
    F.cross_entropy(logits, torch.arange(3)).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(m.momentum == 0.1 for m in network.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_small_images_keep_their_resolution_in_the_stem(name: str) -> None:
    small, large = (reference_cost(name, 10, 3, side).multiply_adds for side in (56, 64))
    assert small > 2 * large
    with torch.device("meta"):
        logits = build_reference(name, 5, 3, 96)(torch.empty(2, 3, 96, 96))
    assert logits.shape == (2, 5)


def test_the_plain_network_is_four_convolutions() -> None:
    """Widths 32, 64, 128, 128: 242,474 parameters for ten classes of colour images."""
    convolutions = 9 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 128)
    norms, linear = 2 * (32 + 64 + 128 + 128), 128 * 10 + 10
    cost = reference_cost("plain", 10, 3, 32)
    assert cost.parameters == convolutions + norms + linear == 242_474
    sides = (32, 16, 8, 4)
    pairs = (3 * 32, 32 * 64, 64 * 128, 128 * 128)
    by_hand = sum(9 * pair * side**2 for pair, side in zip(pairs, sides, strict=True)) + 128 * 10
    assert cost.multiply_adds == by_hand


def test_shuffle_interleaves_the_groups() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert SHUFFLENET_GROUPS == 3
    assert _shuffle(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_unknown_names_and_tiny_images_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'mobilenet'"):
        build_reference("mobilenett", 10, 3, 32)
    with pytest.raises(UserError, match="images of 4 pixels are too small"):
        build_reference("mobilenet", 10, 3, 4)
