"""Folded sums against the stock modules: values, gradients, running statistics, precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dots.networks.kernels import node_sum as folding
from dots.networks.kernels.node_sum import Term, combine, normalised, normed_pointwise

T = TypeVar("T")
BATCH, SIZE = 5, 4


class Case:
    """Terms drawn at random, so that two copies can go two ways."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float64, **fixed: object) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        self.fixed = fixed
        self.channels = self.choice("channels", [1, 2, 5])
        self.side = self.choice("side", [1, SIZE])
        self.terms = [self.term() for _ in range(self.choice("terms", [1, 2, 5]))]

    def choice(self, name: str, options: Sequence[T]) -> T:
        index = int(torch.randint(len(options), (), generator=self.generator))
        return self.fixed.get(name, options[index])  # type: ignore[return-value]  # as given

    def random(self, *shape: int) -> Tensor:
        x = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return x.to(self.dtype)

    def term(self) -> Term:
        width = self.choice("width", [self.channels, 1, 7])
        with_pointwise = self.choice("pointwise", [True, False])
        x = self.random(BATCH, width if with_pointwise else self.channels, self.side, SIZE) + 0.5
        if self.choice("channels_last", [True, False]):
            x = x.contiguous(memory_format=torch.channels_last)
        weight = self.choice("weight", ["one", "number", "per image"])
        weights = {
            "one": None,
            "number": self.random().requires_grad_(),
            "per image": self.random(BATCH, 1, 1, 1),
        }
        pointwise = self.random(self.channels, width, 1, 1).requires_grad_()
        norm = self.norm() if self.choice("norm", [True, False]) else None
        return Term(
            x.requires_grad_(), weights[weight], pointwise if with_pointwise else None, norm
        )

    def norm(self) -> nn.BatchNorm2d:
        norm = nn.BatchNorm2d(
            self.channels,
            eps=self.choice("eps", [1e-5, 1e-3]),
            momentum=self.choice("momentum", [0.1, None]),
            affine=self.choice("affine", [True, False]),
            track_running_stats=self.choice("track", [True, False]),
        ).to(self.dtype)
        for tensor in [*norm.parameters(), *norm.buffers()]:
            if tensor.is_floating_point():
                tensor.data = self.random(*tensor.shape).square() + 0.5
        return norm.train(self.choice("training", [True, False]))

    def results(self, function: Callable[[Sequence[Term]], Tensor]) -> list[Tensor]:
        """The value, all gradients, and the buffers afterwards."""
        y = function(self.terms)
        direction = torch.Generator().manual_seed(1)
        y.backward(torch.randn(y.shape, generator=direction).to(y.dtype))
        found = [y.detach()]
        for term in self.terms:
            found += [x.grad for x in term[:3] if x is not None and x.grad is not None]
            if term.norm is not None:
                found += [p.grad for p in term.norm.parameters() if p.grad is not None]
                found += list(term.norm.buffers())
        return found


def fast(terms: Sequence[Term]) -> Tensor:
    return combine(terms, fast=True)


def plain(terms: Sequence[Term]) -> Tensor:
    return combine(terms, fast=False)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_equal_to_the_stock_modules_in_float64(seed: int) -> None:
    for a, b in zip(Case(seed).results(fast), Case(seed).results(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_precise_in_float32(seed: int) -> None:
    # In a narrow map a variance may be nearly nothing, and then any gradient is large.
    fixed = {"channels": 5, "width": 5}
    ours = Case(seed, torch.float32, **fixed).results(fast)
    case = Case(seed, torch.float32, **fixed)
    case.terms = [_to_double(term) for term in case.terms]
    for a, b in zip(ours, case.results(plain), strict=True):
        assert float((a - b).double().norm()) <= 2e-4 * float(b.double().norm()) + 1e-5


def _to_double(term: Term) -> Term:
    norm = None if term.norm is None else copy.deepcopy(term.norm).double()
    features, weight, pointwise = (
        None if x is None else x.detach().double().requires_grad_(x.requires_grad) for x in term[:3]
    )
    assert features is not None
    return Term(features, weight, pointwise, norm)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pointwise", [True, False])
def test_derivatives(training: bool, pointwise: bool) -> None:
    fixed = {"training": training, "pointwise": pointwise, "channels": 2, "width": 2}
    case = Case(3, norm=True, affine=True, weight="number", terms=1, side=1, **fixed)
    tensors = [x for term in case.terms for x in term[:3] if x is not None]
    parameters = [p for t in case.terms if t.norm is not None for p in t.norm.parameters()]

    def function(*_: Tensor) -> Tensor:
        return fast(case.terms)

    assert torch.autograd.gradcheck(function, (*tensors, *parameters))
    assert torch.autograd.gradgradcheck(function, (*tensors, *parameters))


@pytest.mark.parametrize("pointwise", [True, False])
def test_a_mean_far_above_the_standard_deviation(pointwise: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 4, 8, 8) * 0.01 + 30
    x = x.contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(4, 4, 1, 1) if pointwise else None
    one = combine([Term(x, None, kernel, nn.BatchNorm2d(4))], fast=True)
    norm = nn.BatchNorm2d(4).double()
    wide = None if kernel is None else kernel.double()
    exact = combine([Term(x.double(), None, wide, norm)], fast=False)
    # The bias of the folded map is as large as mean / std, and rounded.
    assert float((one - exact).detach().norm() / exact.detach().norm()) < 2e-3


def test_large_maps_are_as_precise_as_small_ones() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 8, 32, 32).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(8, 8, 1, 1)
    found = normed_pointwise(x, kernel, nn.BatchNorm2d(8), relu=True, fast=True)
    norm = nn.BatchNorm2d(8).double()
    exact = normed_pointwise(x.double(), kernel.double(), norm, relu=True, fast=False)
    assert float((found - exact).detach().norm() / exact.detach().norm()) < 1e-6


def test_terms_may_share_features() -> None:
    results = []
    for function in (fast, plain):
        case = Case(5, pointwise=True, width=3, norm=True, training=True, terms=3, channels=3)
        shared = case.terms[0].features
        case.terms = [term._replace(features=shared) for term in case.terms]
        results.append(case.results(function))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("large", [0, 2**40])
def test_wide_maps_may_be_folded_or_not(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "LARGE", large)  # else it would take a map of 2**20 numbers
    fixed = {"pointwise": True, "channels": 24, "width": 24, "terms": 3}
    for seed in range(4):
        ours, stock = Case(seed, **fixed).results(fast), Case(seed, **fixed).results(plain)
        for a, b in zip(ours, stock, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_widths_may_differ() -> None:
    cases = [Case(7, terms=1, channels=3, pointwise=True, width=width) for width in (2, 3, 5)]
    terms = [term for case in cases for term in case.terms]
    again = [Case(7, terms=1, channels=3, pointwise=True, width=width) for width in (2, 3, 5)]
    torch.testing.assert_close(fast(terms), plain([t for c in again for t in c.terms]))


def test_normed_pointwise_rectifies() -> None:
    results = []
    for how in (True, False):
        case = Case(9, terms=1, pointwise=True, norm=True, weight="one", training=True)
        ((x, _, kernel, norm, _),) = case.terms
        assert kernel is not None
        assert norm is not None
        y = normed_pointwise(x, kernel, norm, relu=True, fast=how)
        y.square().sum().backward()
        results.append([y, x.grad, kernel.grad])
        assert float(y.detach().min()) == 0
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_one_normalised_map_serves_many_norms() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    ours, theirs = (nn.BatchNorm2d(3, affine=False).double() for _ in range(2))
    shared = normalised(x, ours.eps)
    shared.update(ours)
    torch.testing.assert_close(shared.features, theirs(x))
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_untracked_statistics_stay_when_tracking_is_off() -> None:
    norm = nn.BatchNorm2d(2)
    norm.track_running_stats = False  # as recomputation of a cell may set it
    before = [buffer.clone() for buffer in norm.buffers()]
    combine([Term(torch.randn(2, 2, 3, 3), None, None, norm)], fast=True)
    for a, b in zip(before, norm.buffers(), strict=True):
        assert torch.equal(a, b)


def test_a_single_value_per_channel_is_refused_as_by_the_stock_module() -> None:
    term = Term(torch.randn(1, 2, 1, 1), None, None, nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        combine([term], fast=True)


def test_no_term_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one term"):
        combine([], fast=True)


def test_other_norms_and_autocast_take_the_stock_modules() -> None:
    class Other(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    x = torch.zeros(2, 2, 3, 3)
    assert torch.equal(combine([Term(x, None, None, Other(2))], fast=True), x + 1)
    kernel = torch.randn(2, 2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        y = combine([Term(x, None, kernel, nn.BatchNorm2d(2))], fast=True)
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients(context: Callable[[], torch.no_grad]) -> None:
    with context():
        found, expected = fast(Case(11).terms), plain(Case(11).terms)
    torch.testing.assert_close(found, expected)


def test_only_features_are_kept_for_the_backward_pass() -> None:
    """No output of a convolution, of a norm, or of a product."""
    torch.manual_seed(0)
    terms = []
    for _ in range(6):
        x = torch.randn(16, 4, 8, 8).contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(4, 4, 1, 1, requires_grad=True)
        weight = torch.tensor(0.5, requires_grad=True)
        terms.append(Term(x.requires_grad_(), weight, kernel, nn.BatchNorm2d(4, affine=False)))
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        fast(terms)
    large = {pointer for pointer, numbers in kept.items() if numbers >= terms[0].features.numel()}
    assert large == {term.features.data_ptr() for term in terms}
