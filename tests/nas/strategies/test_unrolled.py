"""The unrolled gradient against exact derivatives: a quadratic toy, float64 double backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dots.nas.strategies.shared.unrolled import RADIUS, Descent, SetGradients, unrolled_gradient

Loss = Callable[[Tensor, Tensor], Tensor]


def parameter(*shape: int, seed: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))


def setter(loss: Callable[[], Tensor]) -> SetGradients:
    def set_gradients(wanted: Sequence[nn.Parameter]) -> None:
        gradients = torch.autograd.grad(loss(), list(wanted), allow_unused=True)
        for each, gradient in zip(wanted, gradients, strict=True):
            each.grad = gradient

    return set_gradients


@settings(deadline=None, max_examples=30)
@given(
    lr=st.floats(1e-3, 0.5),
    momentum=st.floats(0, 0.99),
    decay=st.floats(0, 0.1),
    moved=st.booleans(),
)
def test_it_is_exact_where_the_training_loss_is_quadratic(
    lr: float, momentum: float, decay: float, moved: bool
) -> None:
    """L_train = ½ wᵀH w + wᵀB α, L_val = ½‖w - t‖² + cᵀα: by hand.

    w' = w - lr (μ·b + H w + B α + λ w); the gradient is c - lr·Bᵀ (w' - t).
    """
    w, alpha = parameter(4, seed=0), parameter(3, seed=1)
    hessian, mixed = parameter(4, 4, seed=2).detach(), parameter(4, 3, seed=3).detach()
    hessian = hessian @ hessian.T
    target, slope = parameter(4, seed=4).detach(), parameter(3, seed=5).detach()
    buffer = parameter(4, seed=6).detach()

    train = setter(lambda: 0.5 * w @ hessian @ w + w @ mixed @ alpha)
    held_out = setter(lambda: 0.5 * ((w - target) ** 2).sum() + slope @ alpha)
    descent = Descent(lr, momentum, decay, [buffer if moved else None])
    (gradient,) = unrolled_gradient([w], [alpha], train, held_out, descent)

    with torch.no_grad():
        velocity = momentum * buffer if moved else 0
        ahead = w - lr * (velocity + hessian @ w + mixed @ alpha + decay * w)
        expected = slope - lr * mixed.T @ (ahead - target)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-8)


def test_it_is_that_of_a_double_backward() -> None:
    """A smooth loss that is not quadratic, several tensors, one of which nothing depends on."""
    weights = [parameter(5, 4, seed=0), parameter(5, seed=1), parameter(2, seed=2)]
    alphas = [parameter(4, seed=3), parameter(5, seed=4)]
    x, y = parameter(8, 4, seed=5).detach(), parameter(8, seed=6).detach()

    def loss(data: Tensor, matrix: Tensor, vector: Tensor, *mixing: Tensor) -> Tensor:
        hidden = torch.tanh((data * mixing[0].softmax(0)) @ matrix.T) * mixing[1].softmax(0)
        return ((hidden @ vector - y) ** 2).mean()

    lr, momentum, decay = 0.1, 0.9, 3e-4
    buffers = [parameter(5, 4, seed=7).detach(), None, None]

    first = torch.autograd.grad(loss(x, *weights[:2], *alphas), weights[:2], create_graph=True)
    ahead = [
        w - lr * (g + decay * w + (0 if b is None else momentum * b))
        for w, g, b in zip(weights[:2], first, buffers[:2], strict=True)
    ]
    expected = torch.autograd.grad(loss(2 * x, *ahead, *alphas), alphas)

    found = unrolled_gradient(
        weights,
        alphas,
        setter(lambda: loss(x, *weights[:2], *alphas)),
        setter(lambda: loss(2 * x, *weights[:2], *alphas)),
        Descent(lr, momentum, decay, buffers),
    )
    for gradient, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-6)
    direct = torch.autograd.grad(loss(2 * x, *[w.detach() for w in ahead], *alphas), alphas)
    assert not torch.allclose(direct[0], expected[0], rtol=1e-2)  # the second term matters


def test_the_weights_come_back_bit_for_bit() -> None:
    w, alpha = nn.Parameter(torch.randn(1000) * 1e3), nn.Parameter(torch.randn(3))
    before = w.detach().clone()
    set_gradients = setter(lambda: (w * 0.1).tanh().sum() * alpha.sum())
    unrolled_gradient([w], [alpha], set_gradients, set_gradients, Descent(0.3, 0.9, 0.1, [None]))
    assert torch.equal(w, before)
    assert w.requires_grad
    assert alpha.requires_grad


def test_the_weights_come_back_after_an_error_too() -> None:
    w, alpha = parameter(4, seed=0), parameter(1, seed=1)
    before = w.detach().clone()

    def fails(wanted: Sequence[nn.Parameter]) -> None:
        assert not torch.equal(w, before)  # it is called one step ahead
        raise ArithmeticError

    train = setter(lambda: (w * alpha).sum())
    with pytest.raises(ArithmeticError):
        unrolled_gradient([w], [alpha], train, fails, Descent(0.1, 0.0, 0.0, [None]))
    assert torch.equal(w, before)


def test_both_sides_of_the_difference_draw_the_same_noise() -> None:
    w, alpha = parameter(4, seed=0), parameter(1, seed=1)

    def noisy() -> Tensor:
        return (w * torch.randn(4, dtype=torch.float64)).sum() * alpha.sum()

    random_state = torch.get_rng_state()
    held_out = setter(lambda: w.sum() + 0 * alpha.sum())
    (gradient,) = unrolled_gradient(
        [w], [alpha], setter(noisy), held_out, Descent(1.0, 0.0, 0.0, [None])
    )
    torch.set_rng_state(random_state)
    noise = torch.randn(4, dtype=torch.float64)
    assert float(gradient) == pytest.approx(-float(noise.sum()), rel=1e-6)


def test_a_validation_loss_that_is_flat_in_w_leaves_its_own_gradient() -> None:
    w, alpha = parameter(4, seed=0), parameter(2, seed=1)
    train = setter(lambda: (w.sum() * alpha).sum())
    held_out = setter(lambda: (3 * alpha).sum() + 0 * w.sum())
    (gradient,) = unrolled_gradient([w], [alpha], train, held_out, Descent(0.1, 0.0, 0.0, [None]))
    assert gradient.tolist() == [3.0, 3.0]


def test_the_difference_is_taken_at_the_published_distance() -> None:
    w, alpha = parameter(4, seed=0), parameter(1, seed=1)
    start, seen = w.detach().clone(), []

    def train(wanted: Sequence[nn.Parameter]) -> None:
        seen.append(float((w.detach() - start).norm()))
        setter(lambda: (w * alpha).sum())(wanted)

    held_out = setter(lambda: (w**2).sum())
    unrolled_gradient([w], [alpha], train, held_out, Descent(0.1, 0.0, 0.0, [None]))
    assert RADIUS == 0.01
    assert seen == pytest.approx([0.0, 0.01, 0.01])
