"""Gradients: accumulation, frozen weights, class weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dots.data.batch import Batch
from dots.training.engine import clip_gradients, frozen
from helpers import small


def _linear() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3 * 8 * 8, 5).double()


def _objective(model: nn.Module, engine: object):  # type: ignore[no-untyped-def]
    def objective(part: Batch) -> tuple[Tensor, Tensor]:
        logits = model(part.images.double().flatten(1))
        return engine.cross_entropy(logits, part.labels), logits  # type: ignore[attr-defined]

    return objective


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_gradients_are_those_of_the_batch(parts: int, weighted: bool) -> None:
    weights = torch.tensor([0.5, 2.0, 1.0, 1.0, 3.0], dtype=torch.float64) if weighted else None
    results = []
    for accumulate in (1, parts):
        model = _linear()
        engine = small.engine(accumulate=accumulate, class_weights=weights)
        result = engine.gradients(
            small.batch(7), _objective(model, engine), list(model.parameters())
        )
        results.append([result.loss, result.correct, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_only_the_named_parameters_get_gradients() -> None:
    model, engine = _linear(), small.engine()
    model.bias.grad = torch.ones(5, dtype=torch.float64)
    engine.gradients(small.batch(), _objective(model, engine), [model.weight])
    assert model.weight.grad is not None
    assert torch.equal(model.bias.grad, torch.ones(5, dtype=torch.float64))


def test_gradients_start_anew() -> None:
    model, engine = _linear(), small.engine()
    for _ in range(2):
        engine.gradients(small.batch(), _objective(model, engine), list(model.parameters()))
    once = _linear()
    engine.gradients(small.batch(), _objective(once, engine), list(once.parameters()))
    torch.testing.assert_close(model.weight.grad, once.weight.grad)


def test_frozen_weights_thaw_as_they_were() -> None:
    model = _linear()
    model.bias.requires_grad_(False)
    with frozen(model):
        assert not model.weight.requires_grad
    assert model.weight.requires_grad
    assert not model.bias.requires_grad


def test_class_weights_weigh_each_image() -> None:
    weights = torch.tensor([2.0, 1.0])
    engine = small.engine(class_weights=weights)
    logits, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    assert float(engine.cross_entropy(logits, labels)) == pytest.approx(1.5 * 0.693147, abs=1e-5)


def test_clipping_bounds_the_norm() -> None:
    model, engine = _linear(), small.engine()
    engine.gradients(small.batch(), _objective(model, engine), list(model.parameters()))
    clip_gradients(model.parameters(), 0.01)
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)
