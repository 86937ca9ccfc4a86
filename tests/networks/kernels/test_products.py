"""Products and sums of maps against float64, by matrix products and by kernels of convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dots.networks.kernels.products import add_product, channel_sums, inner, outers, product

POSITIONS = pytest.mark.parametrize(
    "shape",
    [
        pytest.param((64, 64), id="as images"),
        pytest.param((64, 1024), id="as images in pieces"),
        pytest.param((9, 512), id="as images, odd number"),
        pytest.param((5, 16), id="few"),
        pytest.param((67, 77), id="odd"),
    ],
)
WIDTHS = pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 4), (4, 1), (5, 7), (20, 36)])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(found: Tensor, exact: Tensor) -> float:
    """Relative to the largest number."""
    assert found.shape == exact.shape
    return float((found.double() - exact).abs().max() / exact.abs().max())


@POSITIONS
@WIDTHS
def test_products(shape: tuple[int, int], inputs: int, outputs: int) -> None:
    z, matrix = random(*shape, inputs), random(outputs, inputs, seed=1)
    offset, total = random(outputs, seed=2), random(*shape, outputs, seed=3)
    exact = z.double() @ matrix.double().T
    assert error(product(z, matrix), exact) < 1e-6
    assert error(product(z, matrix, offset), exact + offset.double()) < 1e-6
    expected = total.double() + exact
    found = add_product(total, z, matrix)
    assert found is total
    assert error(found, expected) < 1e-6
    assert product(z, matrix).is_contiguous()
    turned = random(inputs, outputs, seed=4)
    assert error(product(z, turned.T), z.double() @ turned.double()) < 1e-6


@POSITIONS
@WIDTHS
def test_sums_of_products(shape: tuple[int, int], inputs: int, outputs: int) -> None:
    a, b = random(*shape, outputs).abs(), random(*shape, inputs, seed=1).abs()
    exact = torch.einsum("npo,npi->oi", a.double(), b.double())
    found = outers([a, a], [b, 2 * b])
    assert found.dtype == torch.float64
    assert error(found, torch.stack([exact, 2 * exact])) < 5e-6  # an odd number is one block


@POSITIONS
def test_sums(shape: tuple[int, int]) -> None:
    z = random(*shape, 6)
    wide = z.double()
    assert error(channel_sums([z.abs()]), wide.abs().sum((0, 1))[None]) < 1e-6
    assert error(inner(z, z), wide.square().sum()) < 1e-6


def test_float64_stays() -> None:
    z, matrix = random(64, 64, 4).double(), random(3, 4, seed=1).double()
    assert error(product(z, matrix), z @ matrix.T) < 1e-14
    assert error(outers([z], [z]), torch.einsum("npo,npi->oi", z, z)[None]) < 1e-14
