"""The fast depthwise convolution against PyTorch's own, in value and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dots.networks.kernels import depthwise as module
from dots.networks.kernels.depthwise import average_pool, depthwise

Layout = Callable[[Tensor], Tensor]
LAYOUTS: dict[str, Layout] = {
    "NCHW": lambda x: x.contiguous(),
    "NHWC": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: x.repeat(1, 2, 2, 2)[:, ::2, : x.shape[2], 1::2][..., : x.shape[3]],
}


@pytest.fixture
def fast_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the identities in float64 too, where the stock kernel is faster."""
    monkeypatch.setattr(module, "FAST_TYPES", (torch.float32, torch.float64))


def stock(x: Tensor, weight: Tensor, *, stride: int, padding: int, dilation: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


def value_and_gradients(
    function: Callable[..., Tensor], x: Tensor, weight: Tensor, **how: int
) -> list[Tensor]:
    x, weight = x.clone(memory_format=torch.preserve_format), weight.clone()
    x.requires_grad_(True)
    weight.requires_grad_(True)
    y = function(x, weight, **how)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, (x, weight), direction)]


cases = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "channels": st.integers(1, 4),
        "height": st.integers(1, 11),
        "width": st.integers(1, 11),
        "kernel": st.sampled_from([1, 3, 5, 7]),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 3),
        "layout": st.sampled_from(sorted(LAYOUTS)),
        "seed": st.integers(0, 1000),
    }
)


def build(case: dict[str, int | str], dtype: torch.dtype) -> tuple[Tensor, Tensor, dict[str, int]]:
    number = {name: value for name, value in case.items() if isinstance(value, int)}
    generator = torch.Generator().manual_seed(number["seed"])
    shape = (number["batch"], number["channels"], number["height"], number["width"])
    kernel, dilation = number["kernel"], number["dilation"]
    x = LAYOUTS[str(case["layout"])](torch.randn(shape, generator=generator, dtype=dtype))
    weight = torch.randn(shape[1], 1, kernel, kernel, generator=generator, dtype=dtype)
    how = {"stride": number["stride"], "padding": dilation * (kernel // 2), "dilation": dilation}
    return x, weight, how


@pytest.mark.usefixtures("fast_float64")
def test_equal_to_the_stock_kernel_in_float64() -> None:
    @settings(deadline=None, max_examples=60)
    @given(cases)
    def check(case: dict[str, int | str]) -> None:
        x, weight, how = build(case, torch.float64)
        ours = value_and_gradients(depthwise, x, weight, **how)
        for a, b in zip(ours, value_and_gradients(stock, x, weight, **how), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)

    check()


@settings(deadline=None, max_examples=40)
@given(cases)
def test_as_precise_as_the_stock_kernel_in_float32(case: dict[str, int | str]) -> None:
    x, weight, how = build(case, torch.float32)
    ours = value_and_gradients(depthwise, x, weight, **how)
    exact = value_and_gradients(stock, x.double(), weight.double(), **how)
    for a, b in zip(ours, exact, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm()) <= 1e-6 * float(b.norm()) + 1e-5


def test_large_maps_stay_precise() -> None:
    x, weight = torch.rand(32, 4, 32, 32), torch.randn(4, 1, 5, 5)
    x = x.contiguous(memory_format=torch.channels_last)
    how = {"stride": 1, "padding": 4, "dilation": 2}
    ours = value_and_gradients(depthwise, x, weight, **how)
    exact = value_and_gradients(stock, x.double(), weight.double(), **how)
    for a, b in zip(ours, exact, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-5


@pytest.mark.usefixtures("fast_float64")
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(3, 1, 1), (5, 1, 1), (3, 2, 1), (5, 2, 1), (3, 1, 2), (5, 1, 2), (3, 2, 2), (5, 2, 2)],
)
def test_first_and_second_derivatives(kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        padding = dilation * (kernel // 2)
        return depthwise(x, weight, stride=stride, padding=padding, dilation=dilation)

    assert torch.autograd.gradcheck(function, (x, weight))
    assert torch.autograd.gradgradcheck(function, (x, weight))


def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts from now on how often the identities are used."""
    count = [0]
    apply = module._Depthwise.apply

    def counted(*arguments: object) -> object:
        count[0] += 1
        return apply(*arguments)

    monkeypatch.setattr(module._Depthwise, "apply", counted)
    return count


def test_identities_are_used_where_they_help(monkeypatch: pytest.MonkeyPatch) -> None:
    count = calls(monkeypatch)
    weight = torch.randn(3, 1, 5, 5, requires_grad=True)
    depthwise(torch.randn(2, 3, 8, 8), weight, stride=1, padding=2, dilation=1)
    assert count == [1]


@pytest.mark.parametrize("why", ["float64", "autocast", "no gradient", "meta", "padding", "even"])
def test_the_stock_kernel_is_used_elsewhere(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = calls(monkeypatch)
    device = "meta" if why == "meta" else "cpu"
    dtype = torch.float64 if why == "float64" else torch.float32
    size = 4 if why == "even" else 5
    x = torch.randn(2, 3, 8, 8, device=device, dtype=dtype)
    weight = torch.randn(3, 1, size, size, device=device, dtype=dtype, requires_grad=True)
    padding = 1 if why == "padding" else 2
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"),
        torch.set_grad_enabled(why != "no gradient"),
    ):
        y = depthwise(x, weight, stride=1, padding=padding, dilation=1)
        expected = stock(x, weight, stride=1, padding=padding, dilation=1)
    assert count == [0]
    assert y.dtype == expected.dtype
    assert why == "meta" or torch.equal(y, expected)


def test_an_empty_batch_is_as_with_the_stock_kernel() -> None:
    x, weight = torch.empty(0, 3, 8, 8), torch.randn(3, 1, 3, 3, requires_grad=True)
    assert depthwise(x, weight, stride=1, padding=1, dilation=1).shape == (0, 3, 8, 8)


def test_only_what_is_wanted_is_computed() -> None:
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(3, 1, 3, 3, requires_grad=True)
    depthwise(x, weight, stride=1, padding=1, dilation=1).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_inference_mode() -> None:
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(3, 1, 3, 3)
    with torch.inference_mode():
        y = depthwise(x, weight, stride=2, padding=1, dilation=1)
    assert torch.equal(y, stock(x, weight, stride=2, padding=1, dilation=1))


@pytest.mark.usefixtures("fast_float64")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (2, 3), (6, 7), (8, 8)])
def test_average_pooling_is_the_stock_one(height: int, width: int, stride: int) -> None:
    torch.manual_seed(height + width)
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    ours, plain = (average_pool(x, stride, fast=fast) for fast in (True, False))
    assert "AvgPool" not in type(ours.grad_fn).__name__  # or this would compare it with itself
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, x, direction),
        torch.autograd.grad(plain, x, direction),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
