"""A 1×1 convolution of maps side by side in C++ against that of their concatenation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dots.networks.kernels import native
from dots.networks.kernels.joined import joinable, joined
from dots.networks.kernels.node_sum import pointwise_sum
from helpers.native_kernels import kernels

__all__ = ["kernels"]  # a fixture

channels = st.sampled_from([16, 17, 20, 36, 64])
once = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def inputs(
    widths: list[int], outputs: int, size: tuple[int, ...], last: bool = True
) -> list[Tensor]:
    """A pointwise and maps, in float32."""
    torch.manual_seed(0)
    batch, height, width = size
    layout = torch.channels_last if last else torch.contiguous_format
    maps = [torch.randn(batch, c, height, width).contiguous(memory_format=layout) for c in widths]
    pointwise = torch.randn(outputs, sum(widths), 1, 1) / sum(widths) ** 0.5
    return [x.requires_grad_() for x in (pointwise, *maps)]


@once
@given(
    widths=st.lists(channels, min_size=1, max_size=4),
    outputs=channels,
    size=st.tuples(st.integers(1, 11), st.integers(1, 9), st.integers(1, 9)),
    last=st.booleans(),
)
def test_it_is_the_convolution_of_the_concatenation(
    kernels: native.Kernels,
    widths: list[int],
    outputs: int,
    size: tuple[int, ...],
    last: bool,
) -> None:
    pointwise, *maps = given_ = inputs(widths, outputs, size, last)
    assert joinable(maps, pointwise)
    found = joined(maps, pointwise)
    exact = [x.detach().double().requires_grad_() for x in given_]
    expected = F.conv2d(torch.cat(exact[1:], dim=1), exact[0])
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.features.double(), expected, **close)
    assert found.moments is not None
    rows = expected.transpose(0, 1).flatten(1)
    torch.testing.assert_close(found.moments.mean, rows.mean(1), **close)
    torch.testing.assert_close(found.moments.variance, rows.var(1, unbiased=False), **close)
    direction = torch.randn_like(expected)
    results = torch.autograd.grad(found.features, given_, direction.float())
    references = torch.autograd.grad(expected, exact, direction)
    for value, reference in zip(results, references, strict=True):
        size_ = reference.abs().max() + 1
        torch.testing.assert_close(value.double() / size_, reference / size_, rtol=0, atol=1e-5)


def test_only_what_is_asked_for_gets_a_gradient(kernels: native.Kernels) -> None:
    pointwise, first, second = inputs([16, 20], 16, (3, 4, 5))
    expected = torch.autograd.grad(
        F.conv2d(torch.cat([first, second], 1), pointwise).sum(), (pointwise, second)
    )
    for asked, reference in ((pointwise, expected[0]), (second, expected[1])):
        for x in (pointwise, first, second):
            x.requires_grad_(x is asked)
        (found,) = torch.autograd.grad(joined([first, second], pointwise).features.sum(), asked)
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-4)


def test_second_derivatives(kernels: native.Kernels) -> None:
    pointwise, *maps = given_ = inputs([16, 20], 16, (3, 4, 5))
    results = []
    for y in (joined(maps, pointwise).features, F.conv2d(torch.cat(maps, 1), pointwise)):
        (first,) = torch.autograd.grad(y.square().sum(), pointwise, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), given_))
    for value, reference in zip(*results, strict=True):
        size = reference.abs().max()
        torch.testing.assert_close(value / size, reference / size, rtol=0, atol=1e-5)


@pytest.mark.parametrize("why", ["narrow", "float64", "no gradient", "no kernels"])
def test_elsewhere_it_is_the_sum_of_products(
    kernels: native.Kernels, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    pointwise, *maps = inputs([16, 4 if why == "narrow" else 20], 16, (2, 3, 3))
    if why == "float64":
        pointwise, *maps = [x.double() for x in (pointwise, *maps)]
    if why == "no kernels":
        monkeypatch.setattr(native, "kernels", lambda: None)
    with torch.set_grad_enabled(why != "no gradient"):
        assert not joinable(maps, pointwise)
        found = pointwise_sum(maps, pointwise)
    assert found.moments is None
    expected = F.conv2d(torch.cat(maps, 1), pointwise)
    torch.testing.assert_close(found.features, expected, rtol=1e-5, atol=1e-5)
