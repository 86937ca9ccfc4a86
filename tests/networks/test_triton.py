"""The programs in Triton, run by its interpreter: what modules give, in value and gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks import supernet as supernet_module
from dots.networks.kernels.blocks import Block
from dots.networks.kernels.triton import grid
from dots.networks.kernels.triton.chain import chain
from dots.networks.kernels.triton.separable import Chain, Plan, separable
from dots.networks.operations import outgoing
from dots.space.search_space import darts_space
from helpers import small
from networks.test_outgoing import assert_alike, step

pytest.importorskip("triton", reason="Triton is not installed")

EPS = 1e-5


def block(channels: int, kernel: int, dilation: int, stride: int, dtype: torch.dtype) -> Block:
    return Block(
        torch.randn(channels, 1, kernel, kernel, dtype=dtype, requires_grad=True),
        torch.randn(channels, channels, 1, 1, dtype=dtype, requires_grad=True),
        stride,
        dilation,
    )


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(*shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def noise_like(outputs: Sequence[Tensor]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(y.shape, generator=draw, dtype=torch.float64).to(y.dtype) for y in outputs]


def derivatives(
    outputs: Callable[[], Sequence[Tensor]], leaves: Sequence[Tensor], *, twice: bool
) -> list[Tensor]:
    """Of the outputs' inner product with noise; or of the square of those derivatives."""
    y = outputs()
    first = torch.autograd.grad(list(y), list(leaves), noise_like(y), create_graph=twice)
    if not twice:
        return list(first)
    square = sum(part.square().sum() for part in first)
    return list(torch.autograd.grad(square, list(leaves), materialize_grads=True))


def assert_same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11 * scale)


def assert_alike_in_all(
    found: Callable[[], Sequence[Tensor]],
    plain: Callable[[], Sequence[Tensor]],
    leaves: Sequence[Tensor],
) -> None:
    for twice in (False, True):
        expected = derivatives(plain, leaves, twice=twice)
        assert_same(derivatives(found, leaves, twice=twice), expected)


@pytest.mark.parametrize(
    ("shape", "stride"), [((1, 3, 6, 7), 1), ((1, 20, 5, 5), 2)], ids=["two tiles", "stride"]
)
def test_separable_convolutions(
    shape: tuple[int, ...], stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edges with one, several and none of the chains, and with the maps of others."""
    monkeypatch.setattr(grid, "TILE", 512)
    torch.manual_seed(0)
    channels, dtype = shape[1], torch.float64
    chains = [
        Chain(0, (block(channels, 3, 1, stride, dtype), block(channels, 3, 1, 1, dtype))),
        Chain(2, (block(channels, 3, 2, stride, dtype),)),
        Chain(0, (block(channels, 5, 2, stride, dtype),)),
    ]
    x, scales = images(*shape), torch.randn(3, dtype=dtype, requires_grad=True)
    plan = Plan(chains, (0, 2, 5), x.device)
    sizes = [-(-side // stride) for side in shape[2:]]
    others = torch.randn(2, shape[0], channels, *sizes, dtype=dtype, requires_grad=True)
    factors = torch.randn(2, 3, dtype=dtype, requires_grad=True)

    def plain() -> list[Tensor]:
        edges = [(column.view(-1, 1, 1, 1, 1) * others).sum(0) for column in factors.unbind(1)]
        for scale, index in zip(scales, plan.last, strict=True):
            y = x
            for each in chains[index].blocks:
                y = F.batch_norm(each(F.relu(y)), None, None, None, None, True, 0.0, EPS)
            edge = plan.edges.index(chains[index].edge)
            edges[edge] = edges[edge] + scale * y
        return edges

    def found() -> Sequence[Tensor]:
        return separable(plan, x, chains, scales, others, factors, EPS).edges

    weights = [tensor for each in plan.blocks(chains) for tensor in each[:2]]
    assert_same(found(), plain())
    assert_alike_in_all(found, plain, [x, scales, others, factors, *weights])
    if stride == 1:
        without_weights = derivatives(found, [x, scales], twice=False)
        assert_same(without_weights, derivatives(plain, [x, scales], twice=False))


CHAINS = [
    ((3, 3, 9, 8), 1, True, torch.float64),
    ((2, 20, 7, 7), 2, False, torch.float64),
    ((2, 70, 4, 4), 1, True, torch.float64),
]


def chained(
    shape: tuple[int, ...], stride: int, affine: bool, dtype: torch.dtype
) -> tuple[list[Block], list[nn.BatchNorm2d]]:
    torch.manual_seed(0)
    kinds = ((3, 1, stride), (5, 2, 1))
    norms = [nn.BatchNorm2d(shape[1], affine=affine).to(dtype) for _ in kinds]
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        for parameter in norm.parameters():
            nn.init.uniform_(parameter, 0.5, 1.5)
    return [block(shape[1], *kind, dtype) for kind in kinds], norms


def modules(x: Tensor, blocks: Sequence[Block], norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    for each, norm in zip(blocks, norms, strict=True):
        x = norm(each(F.relu(x)))
    return x


@pytest.mark.parametrize(("shape", "stride", "affine", "dtype"), CHAINS)
def test_chains(
    shape: tuple[int, ...],
    stride: int,
    affine: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of several tiles in a part, in training; running statistics move as those of modules."""
    monkeypatch.setattr(grid, "PARTS", 1)
    blocks, norms = chained(shape, stride, affine, dtype)
    x, others = images(*shape), copy.deepcopy(norms)
    leaves = [x, *(tensor for each in blocks for tensor in each[:2])]
    own = [parameter for norm in norms for parameter in norm.parameters()]
    assert_same([chain(x, blocks, norms)], [modules(x, blocks, others)])
    buffers = ([*norm.buffers()] for norm in (*norms, *others))
    first, second, *expected = [[value.double() for value in each] for each in buffers]
    assert_same([*first, *second], [*expected[0], *expected[1]])
    assert_alike_in_all(
        lambda: [chain(x, blocks, norms)], lambda: [modules(x, blocks, norms)], leaves + own
    )


@pytest.mark.parametrize(("shape", "stride", "affine", "dtype"), CHAINS)
def test_chains_in_an_evaluation(
    shape: tuple[int, ...], stride: int, affine: bool, dtype: torch.dtype
) -> None:
    blocks, norms = chained(shape, stride, affine, dtype)
    x = images(*shape)
    for norm in norms:
        norm.eval()
    with torch.no_grad():
        assert_same([chain(x, blocks, norms)], [modules(x, blocks, norms)])


def test_chains_in_bfloat16() -> None:
    """Maps are rounded to it, statistics and gradients of parameters are not."""
    blocks, norms = chained((2, 36, 4, 4), 1, True, torch.float32)
    x = images(2, 36, 4, 4, dtype=torch.bfloat16)
    y = chain(x, blocks, norms)
    assert y.dtype == torch.bfloat16
    expected = modules(x.float(), blocks, norms)
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    leaves = [*(tensor for each in blocks for tensor in each[:2]), *norms[0].parameters()]
    found = derivatives(lambda: [chain(x, blocks, norms)], [x, *leaves], twice=False)
    assert [part.dtype for part in found] == [torch.bfloat16] + [torch.float32] * len(leaves)
    plain = derivatives(lambda: [modules(x.float(), blocks, norms)], leaves, twice=False)
    for one, other in zip(found[1:], plain, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.05


def test_not_a_number_stays() -> None:
    blocks, norms = chained((2, 3, 4, 4), 1, True, torch.float64)
    x = images(2, 3, 4, 4).detach()
    x[0, 1, 2, 2] = float("nan")
    assert bool(chain(x, blocks, norms).isnan().any())


def test_a_supernet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet_module, "joins", lambda x: True)
    space = darts_space(nodes=1)
    kept = ("sep_conv_3x3", "max_pool_3x3", "skip_connect"), ("dil_conv_3x3", "skip_connect")
    nets = [
        small.supernet(space, candidates=dict.fromkeys(space.kinds, kept), fast=fast).double()
        for fast in (False, True)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    mixtures = [small.random_mixtures(net, dtype=torch.float64) for net in nets]
    plain = step(nets[0], mixtures[0])
    calls: list[int] = []

    def serves(x: Tensor) -> bool:
        calls.append(x.shape[1])
        return True

    monkeypatch.setattr(outgoing, "serves", serves)
    assert_alike(plain, step(nets[1], mixtures[1]))
    assert calls
    assert_alike(dict(nets[0].named_buffers()), dict(nets[1].named_buffers()))
