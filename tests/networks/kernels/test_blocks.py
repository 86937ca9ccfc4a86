"""Chains of depthwise blocks in C++ against stock modules: values, gradients, statistics."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dots.networks.kernels import native
from dots.networks.kernels.blocks import Block, chain, chainable
from helpers.native_kernels import kernels, no_kernels

__all__ = ["kernels", "no_kernels"]  # fixtures

once = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
"""Of float32 sums of a few thousand numbers of size one, against float64."""


@dataclass
class Case:
    """A map and a chain of one to three blocks, in float32."""

    x: Tensor
    blocks: list[Block]
    norms: list[nn.BatchNorm2d]

    def double(self) -> Case:
        blocks = [Block(k.detach().double(), p.detach().double(), *s) for k, p, *s in self.blocks]
        norms = [copy.deepcopy(norm).double() for norm in self.norms]
        return Case(self.x.detach().double(), blocks, norms).wanting()

    def wanting(self) -> Case:
        for tensor in (self.x, *self.weights):
            tensor.requires_grad_(True)
        return self

    @property
    def weights(self) -> list[Tensor]:
        return [tensor for block in self.blocks for tensor in block[:2]]

    @property
    def inputs(self) -> list[Tensor]:
        return [self.x, *self.weights, *(p for norm in self.norms for p in norm.parameters())]

    def stock(self) -> Tensor:
        y = self.x
        for index, block in enumerate(self.blocks):
            y = block(F.relu(self.norms[index - 1](y)) if index else y)
        return y


@st.composite
def cases(draw: Any) -> Case:
    torch.manual_seed(draw(st.integers(0, 1000)))
    channels = [draw(st.sampled_from([16, 17, 20, 31, 36, 50, 67]))]
    count = draw(st.integers(1, 3))
    blocks, norms = [], []
    for index in range(count):
        channels.append(draw(st.sampled_from([16, 17, 20, 31, 36, 50, 67])))
        kernel = draw(st.sampled_from(native.KERNEL_SIZES))
        weights = (
            torch.randn(channels[-2], 1, kernel, kernel) / kernel,
            torch.randn(channels[-1], channels[-2], 1, 1) / channels[-2] ** 0.5,
        )
        blocks.append(Block(*weights, draw(st.integers(1, 3)), draw(st.integers(1, 3))))
        if index < count - 1:
            norms.append(nn.BatchNorm2d(channels[-1], affine=draw(st.booleans())))
            for parameter in norms[-1].parameters():
                nn.init.normal_(parameter)
    batch, height, width = draw(st.tuples(*[st.integers(1, 11)] * 3))
    x = torch.randn(batch, channels[0], height, width) + 0.3
    layout = draw(st.sampled_from(["NCHW", "NHWC", "strided"]))
    if layout == "NHWC":
        x = x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        x = x.repeat(1, 2, 1, 2)[:, ::2, :, ::2][:, : channels[0], :, :width]
    return Case(x.detach(), blocks, norms).wanting()


def several_numbers(case: Case) -> bool:
    """Stock norms refuse a single number for each channel; so do chains."""
    y, sizes = case.x, []
    for block in case.blocks:
        y = block(y)
        sizes.append(y.shape[0] * y.shape[2] * y.shape[3])
    return min(sizes) > 1


@once
@given(case=cases())
def test_chains_are_the_stock_modules(kernels: native.Kernels, case: Case) -> None:
    if not several_numbers(case):
        assert not chainable(case.x, case.blocks, case.norms)
        return
    assert chainable(case.x, case.blocks, case.norms)
    exact = case.double()
    found = chain(case.x, case.blocks, case.norms)
    expected = exact.stock()
    torch.testing.assert_close(found.features.double(), expected, **CLOSE)
    mean = expected.mean((0, 2, 3))
    torch.testing.assert_close(found.moments.mean, mean, **CLOSE)
    variance = expected.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(found.moments.variance, variance, **CLOSE)
    for norm, other in zip(case.norms, exact.norms, strict=True):
        for name, value in other.named_buffers():
            torch.testing.assert_close(norm.get_buffer(name).to(value.dtype), value, **CLOSE)


@once
@given(case=cases())
def test_gradients_are_those_of_the_stock_modules(kernels: native.Kernels, case: Case) -> None:
    """But where rounding decides the side of a ReLU, at which it is not differentiable."""
    if not several_numbers(case):
        return
    exact = case.double()
    y = exact.x
    for index, block in enumerate(exact.blocks):
        if index:
            before = exact.norms[index - 1](y)
            if before.abs().min() < 1e-5 or y.var((0, 2, 3)).min() < 1e-3:
                return
            y = F.relu(before)
        y = block(y)
    direction = torch.randn(y.shape, dtype=torch.float64)
    expected = torch.autograd.grad(y, exact.inputs, direction)
    features = chain(case.x, case.blocks, case.norms).features
    found = torch.autograd.grad(features, case.inputs, direction.float())
    for value, reference in zip(found, expected, strict=True):
        size = float(reference.abs().max()) + 1
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double() / size, reference / size, rtol=0, atol=5e-5)


def a_case(images: int = 9) -> Case:
    """A separable convolution as the search has it."""
    torch.manual_seed(0)
    weights = torch.randn(16, 1, 3, 3), torch.randn(16, 16, 1, 1) / 4
    blocks = [Block(*weights, 2, 1), Block(*(w.clone() for w in weights), 1, 1)]
    norms = [nn.BatchNorm2d(16, affine=False)]
    return Case(torch.randn(images, 16, 12, 10), blocks, norms).wanting()


def test_threads_do_not_change_a_bit(kernels: native.Kernels) -> None:
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        try:
            case = a_case()
            features, (mean, variance) = chain(case.x, case.blocks, case.norms)
            gradients = torch.autograd.grad(features.square().sum(), case.inputs)
        finally:
            torch.set_num_threads(1)
        results.append([features, mean, variance, *gradients])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_second_derivatives(kernels: native.Kernels) -> None:
    case, found, expected = a_case(2), [], []
    for y, gradients in (
        (chain(case.x, case.blocks, case.norms).features, found),
        (case.stock(), expected),
    ):
        (first,) = torch.autograd.grad(y.square().sum(), case.x, create_graph=True)
        gradients += torch.autograd.grad(first.square().sum(), case.inputs)
    for value, reference in zip(found, expected, strict=True):
        size = reference.abs().max()
        torch.testing.assert_close(value / size, reference / size, rtol=0, atol=1e-4)


def test_what_is_not_asked_for_gets_no_gradient(kernels: native.Kernels) -> None:
    """A chain of fixed weights: the step of α."""
    case = a_case()
    x = case.x.detach()
    for weight in case.weights:
        weight.requires_grad_(False)
    assert not chain(x, case.blocks, case.norms).features.requires_grad
    features = chain(x.requires_grad_(), case.blocks, case.norms).features
    (found,) = torch.autograd.grad(features.sum(), x)
    (expected,) = torch.autograd.grad(case.stock().sum(), case.x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "why", ["float64", "autocast", "no gradient", "evaluation", "kernel", "norm", "narrow"]
)
def test_other_cases_take_other_ways(kernels: native.Kernels, why: str) -> None:
    case = a_case()
    assert chainable(case.x, case.blocks, case.norms)
    if why == "float64":
        case = case.double()
    if why == "evaluation":
        case.norms[0].eval()
    if why == "kernel":
        case.blocks[0] = case.blocks[0]._replace(kernel=torch.randn(16, 1, 1, 1))
    if why == "norm":
        case.norms[0] = nn.SyncBatchNorm(16)
    if why == "narrow":
        narrow = torch.randn(kernels.fewest_channels - 1, 16, 1, 1)
        case.blocks[1] = case.blocks[1]._replace(pointwise=narrow)
    with (
        torch.autocast("cpu", enabled=why == "autocast"),
        torch.set_grad_enabled(why != "no gradient"),
    ):
        assert not chainable(case.x, case.blocks, case.norms)


def test_without_kernels_nothing_is_chained(no_kernels: None) -> None:
    case = a_case()
    assert not chainable(case.x, case.blocks, case.norms)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(kernels: native.Kernels, value: float) -> None:
    """A ReLU or a maximum that dropped it would hide a search that has diverged."""
    case = a_case()
    with torch.no_grad():
        case.x[1, 2, 3, 4] = value
    features, (mean, variance) = chain(case.x, case.blocks, case.norms)
    assert not features.isfinite().all()
    assert not mean.isfinite().all()
    assert not variance.isfinite().all()
    gradients = torch.autograd.grad(features.sum(), case.inputs)
    assert not any(gradient.isfinite().all() for gradient in gradients)
