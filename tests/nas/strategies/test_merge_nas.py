"""MergeNAS: the merged kernel against the explicit sum of convolutions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dots.common.errors import UserError
from dots.nas.strategies.merge_nas import MergedConvolution, MergedEdge, MergeNas, footprint
from dots.networks.operations.candidates import OperationStyle
from dots.networks.operations.source import Source
from dots.networks.supernet import EdgePlan
from dots.space.search_space import DARTS_OPERATIONS, named_space, nasbench201_space
from helpers import searches, small

CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
SHARES = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def merged(names: tuple[str, ...], pointwise: str = "shared", stride: int = 1) -> MergedConvolution:
    torch.manual_seed(0)
    return MergedConvolution(names, 4, stride, pointwise).double()  # type: ignore[arg-type]


def image() -> Tensor:
    return torch.randn(2, 4, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def one_by_one(module: MergedConvolution, place: int, x: Tensor) -> Tensor:
    """The place-th convolution of relu(x) alone, as PyTorch does it."""
    each, kernel = module.footprints[place], module.kernels[place]
    padding, groups = each.dilation * (each.kernel // 2), 1 if each.full else 4
    return F.conv2d(x.relu(), kernel, None, module.stride, padding, each.dilation, groups)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_with_a_shared_pointwise_it_is_the_sum_of_the_convolutions(stride: int, fast: bool) -> None:
    module, x = merged(CONVOLUTIONS, stride=stride), image()
    features, pointwise, norm = module(Source(x, fast=fast), SHARES.unbind())[:3]
    assert norm is module.norm
    explicit = sum(
        share * F.conv2d(one_by_one(module, place, x), module.pointwise[0])
        for place, share in enumerate(SHARES)
    )
    assert isinstance(explicit, Tensor)
    assert module.merged_kernel(SHARES.unbind()).shape == (4, 1, 9, 9)
    assert torch.allclose(F.conv2d(features, pointwise), explicit, atol=1e-12)


def test_averaged_pointwise_convolutions_add_cross_terms() -> None:
    module, x = merged(CONVOLUTIONS, "averaged"), image()
    features, pointwise, _ = module(Source(x), SHARES.unbind())[:3]
    explicit = sum(
        first * second * F.conv2d(one_by_one(module, place, x), kernel)
        for place, first in enumerate(SHARES)
        for kernel, second in zip(module.pointwise, SHARES, strict=True)
    )
    assert isinstance(explicit, Tensor)
    assert torch.allclose(F.conv2d(features, pointwise), explicit, atol=1e-12)


def test_full_convolutions_merge_into_the_larger() -> None:
    module, x = merged(("nor_conv_1x1", "nor_conv_3x3")), image()
    shares = torch.tensor([0.3, 0.7], dtype=torch.float64)
    features, pointwise, _ = module(Source(x), shares.unbind())[:3]
    explicit = 0.3 * one_by_one(module, 0, x) + 0.7 * one_by_one(module, 1, x)
    assert pointwise is None
    assert torch.allclose(features, explicit, atol=1e-12)


def test_a_convolution_that_takes_no_part_is_left_out() -> None:
    module, x = merged(CONVOLUTIONS, "averaged"), image()
    features, pointwise, _ = module(Source(x), [None, None, torch.tensor(1.0), None])[:3]
    assert torch.allclose(features, one_by_one(module, 2, x), atol=1e-12)
    assert torch.equal(pointwise, module.pointwise[2])


def test_footprints() -> None:
    extents = {name: footprint(name).extent for name in CONVOLUTIONS}
    assert list(extents.values()) == [3, 5, 5, 9]
    with pytest.raises(UserError, match="'skip_connect' cannot be merged"):
        footprint("skip_connect")


def edge(names: tuple[str, ...] = DARTS_OPERATIONS, pointwise: str = "shared") -> MergedEdge:
    torch.manual_seed(0)
    style = OperationStyle(affine=False, pool_norm=True)
    plan = EdgePlan("normal", 0, (0, 2), names, 4, 1, style)
    return MergedEdge(plan, CONVOLUTIONS, pointwise).double()  # type: ignore[arg-type]


def branch(module: MergedConvolution, weights: Tensor, x: Tensor) -> Tensor:
    """(Σ a) · BN(P(Σ a_k D_k(x) / Σ a)), written out."""
    total = weights.sum()
    mixed = sum(weights[k] / total * one_by_one(module, k, x) for k in range(len(weights)))
    assert isinstance(mixed, Tensor)
    pointed = F.conv2d(mixed, module.pointwise[0])
    return total * F.batch_norm(pointed, None, None, training=True)


@pytest.mark.parametrize("edge_weight", [None, 0.5])
def test_an_edge_weighs_the_normalised_branch_by_the_sum(edge_weight: float | None) -> None:
    built, x = edge(), image()
    alpha = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = alpha.softmax(0)
    gamma = None if edge_weight is None else torch.tensor(edge_weight, dtype=torch.float64)
    terms = built(Source(x, fast=False), weights.unbind(), gamma, (True,) * 8)
    assert len(terms) == 4  # two poolings, the skip, one convolution
    features, scale, pointwise, norm, _ = terms[-1]
    value = scale * norm(F.conv2d(features, pointwise))
    expected = branch(built.merged, weights[4:], x) * (edge_weight or 1.0)
    assert torch.allclose(value, expected, atol=1e-10)


def test_alpha_learns_through_the_kernel_and_through_the_weight_outside() -> None:
    built, x = edge(CONVOLUTIONS), image()
    target = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    start = torch.tensor([0.1, 0.2, 0.3, 0.2], dtype=torch.float64)
    weights = start.clone().requires_grad_()
    [term] = built(Source(x, fast=False), weights.unbind(), None, (True,) * 4)
    value = term.weight * term.norm(F.conv2d(term.features, term.pointwise))
    [found] = torch.autograd.grad((value * target).sum(), weights)
    for k in range(4):  # against a central difference of the formula
        step = torch.zeros(4, dtype=torch.float64)
        step[k] = 1e-6
        with torch.no_grad():
            sides = [branch(built.merged, start + sign * step, x) for sign in (1, -1)]
        slope = ((sides[0] - sides[1]) * target).sum() / 2e-6
        assert float(found[k]) == pytest.approx(float(slope), rel=1e-4, abs=1e-6)
    assert found.unique().numel() == 4  # through the sum alone all would be equal


@pytest.mark.parametrize("pointwise", ["shared", "averaged"])
def test_every_weight_and_alpha_learns(pointwise: str) -> None:
    search = searches.search(MergeNas, method={"pointwise": pointwise})
    search.step(0, small.batch(size=16), small.batch(size=16, seed=1))
    for name, weight in search.supernet.named_parameters():
        assert weight.grad is not None, name
    for alpha in search.alpha.values():
        assert alpha.grad[:, 4:].any(1).all()


def test_the_fast_supernet_is_the_plain_one() -> None:
    logits = []
    for fast in (True, False):
        search = searches.search(MergeNas, fast=fast)
        logits.append(search.supernet(small.batch().images, search.mixtures("weights")))
    assert torch.allclose(*logits, atol=1e-4)


def test_in_nasbench201_the_small_convolution_lies_in_the_large_one() -> None:
    search = searches.search(MergeNas, nasbench201_space())
    edges = [m for m in search.supernet.modules() if isinstance(m, MergedConvolution)]
    assert len(edges) == 6 * search.settings.cells
    assert {each.extent for each in edges} == {3}
    search.step(0, small.batch(), small.batch(seed=1))
    assert search.derive().cells["normal"].edges > 0


@pytest.mark.parametrize("name", ["s2", "s3", "s4"])
def test_spaces_with_nothing_to_merge_are_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"'merge-nas' merges.*'{name}' has no two"):
        searches.search(MergeNas, named_space(name, 2))
