"""Second-order DARTS: its gradient on a supernet, and what its step must not touch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from dots.data.batch import Batch
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.darts_second_order import DartsSecondOrder
from dots.nas.strategies.shared import unrolled
from dots.space.search_space import darts_space
from helpers import contracts, searches, small

SPACE = darts_space(1, ("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"))


def double(batch: Batch) -> Batch:
    return Batch(batch.images.double(), batch.labels, batch.total)


def second_order(**changes: object) -> DartsSecondOrder:
    """A search that has taken steps already: it has momentum, and α is not near zero."""
    search = searches.search(DartsSecondOrder, SPACE, fast=False, **changes)
    for alpha in search.alpha.values():
        alpha.data += torch.randn(alpha.shape, generator=torch.Generator().manual_seed(1))
    for seed in range(2):
        search.weight_step(small.batch(seed=seed))
    return search


def exact_gradient(search: DartsSecondOrder, batch: Batch, held_out: Batch) -> list[Tensor]:
    """By two backward passes, one through the other."""
    names = [name for name, _ in search.supernet.named_parameters()]
    weights = search.weight_optimiser.parameters
    alphas = search.architecture_parameters()

    def loss(at: dict[str, Tensor], data: Batch) -> Tensor:
        mixtures = search.mixtures("architecture")
        logits = torch.func.functional_call(search.supernet, at, (data.images, mixtures))
        return search.engine.cross_entropy(logits, data.labels)

    values = dict(zip(names, weights, strict=True))
    first = torch.autograd.grad(loss(values, batch), weights, create_graph=True, allow_unused=True)
    ahead = {}
    for name, weight, gradient in zip(names, weights, first, strict=True):
        if gradient is None:
            ahead[name] = weight
            continue
        velocity = 0.9 * search.weight_optimiser.sgd.state[weight]["momentum_buffer"]
        ahead[name] = weight - 0.05 * (velocity + gradient + 3e-4 * weight)
    return list(torch.autograd.grad(loss(ahead, held_out), alphas))


def test_the_gradient_is_that_of_a_float64_double_backward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closer to w than published: within 0.01 a network as small as this has kinks (ReLU)."""
    monkeypatch.setattr(unrolled, "RADIUS", 1e-5)
    search = second_order()
    search.supernet.double()
    search.alpha.double()
    for state in search.weight_optimiser.sgd.state.values():
        state["momentum_buffer"] = state["momentum_buffer"].double()
    batch, held_out = double(small.batch(seed=5)), double(small.batch(seed=6))
    exact = torch.cat([g.flatten() for g in exact_gradient(search, batch, held_out)])
    found = torch.cat([g.flatten() for g in search.unrolled_gradient(batch, held_out)])
    assert float((found - exact).norm() / exact.norm()) < 1e-6

    search.architecture_step(held_out)  # the first-order gradient is another one
    first = torch.cat([alpha.grad.flatten() for alpha in search.alpha.values()])
    assert float((first - exact).norm() / exact.norm()) > 0.1


def test_the_step_of_alpha_touches_neither_w_nor_statistics_nor_momentum() -> None:
    search = second_order()
    before = copy.deepcopy(
        {"supernet": search.supernet.state_dict(), "sgd": search.weight_optimiser.state()}
    )
    alphas = contracts.copied(search.architecture_parameters())
    search.unrolled_step(small.batch(seed=5), small.batch(seed=6))
    after = {"supernet": search.supernet.state_dict(), "sgd": search.weight_optimiser.state()}
    assert contracts.same(before, after)
    assert not contracts.same(alphas, contracts.copied(search.architecture_parameters()))


def test_it_looks_ahead_without_clipping() -> None:
    search, gradients = second_order(), []
    for search.weight_optimiser.clip in (None, 1e-6):
        gradients.append(search.unrolled_gradient(small.batch(seed=5), small.batch(seed=6)))
    assert contracts.same(*gradients)


def test_a_step_takes_five_passes_and_a_weight_only_step_one() -> None:
    search = searches.search(DartsSecondOrder, SPACE, fast=False)
    passes = []
    search.supernet.register_forward_hook(lambda *_: passes.append(1))
    search.step(0, small.batch(), small.batch(seed=1))
    assert len(passes) == 5
    search.step(0, small.batch(), None)
    assert len(passes) == 6


def test_without_learning_rate_it_is_first_order() -> None:
    search = second_order()
    search.weight_optimiser.lr = 0.0
    found = search.unrolled_gradient(small.batch(seed=5), small.batch(seed=6))
    search.architecture_step(small.batch(seed=6))
    for gradient, alpha in zip(found, search.alpha.values(), strict=True):
        torch.testing.assert_close(gradient, alpha.grad)


@pytest.mark.parametrize("strategy", [Darts, DartsSecondOrder])
def test_its_weight_step_is_that_of_first_order(strategy: type[Darts]) -> None:
    search = searches.search(strategy, SPACE, fast=False)
    search.step(0, small.batch(), None)
    other = searches.search(Darts, SPACE, fast=False)
    other.weight_step(small.batch())
    assert contracts.same(search.supernet.state_dict(), other.supernet.state_dict())
