"""The gradient of α through one step of w, by a finite difference (Liu et al., Sec. 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dots.common.seeding import isolated_random_state

SetGradients = Callable[[Sequence[nn.Parameter]], object]
"""Sets `.grad` of the given parameters, where a loss depends on them, at their values now."""

RADIUS = 0.01
"""The norm of the step from w to either side for the finite difference, as published."""


@dataclass(frozen=True)
class Descent:
    """The step of SGD that is looked ahead: w' = w - lr · (momentum · buffer + ∇L + decay · w).

    A buffer is None, which counts as zero, where its weight has not moved yet.
    """

    lr: float
    momentum: float
    weight_decay: float
    buffers: Sequence[Tensor | None]


def unrolled_gradient(
    weights: Sequence[nn.Parameter],
    architecture: Sequence[nn.Parameter],
    train: SetGradients,
    held_out: SetGradients,
    descent: Descent,
) -> list[Tensor]:
    """d L_val(w'(α), α) / dα, with w' one step of `train`'s loss ahead; shaped as `architecture`.

    ∇_α L_val(w', α) - lr · [∇_α L_train(w + R·v, α) - ∇_α L_train(w - R·v, α)] / (2R), where
    v = ∇_w' L_val(w', α) and R = 0.01 / ‖v‖. The weights are left bit for bit as they were.
    A training loss that draws random numbers draws the same ones each time: the difference is
    that of one function. Takes four forward and backward passes.
    """

    def train_gradients(wanted: Sequence[nn.Parameter]) -> list[Tensor]:
        with isolated_random_state(), _only(wanted, [*weights, *architecture]):
            train(wanted)
        return _gradients(wanted)

    with restored(weights) as origin:
        _look_ahead(weights, train_gradients(weights), descent)
        held_out([*weights, *architecture])
        direct, direction = _gradients(architecture), _gradients(weights)
        norm = torch.stack([part.norm() for part in direction]).norm()
        radius = RADIUS / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        _move(weights, origin, direction, radius)
        above = train_gradients(architecture)
        _move(weights, origin, direction, -radius)
        below = train_gradients(architecture)
    return [
        gradient - descent.lr * (plus - minus) / (2 * radius)
        for gradient, plus, minus in zip(direct, above, below, strict=True)
    ]


@contextmanager
def restored(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Copies of `tensors`, which get these values back at the end: exactly, not by arithmetic."""
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield saved
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)


@contextmanager
def _only(wanted: Sequence[nn.Parameter], everything: Sequence[nn.Parameter]) -> Iterator[None]:
    """Of `everything` only `wanted` asks for a gradient: the rest is not computed."""
    for parameter in everything:
        parameter.requires_grad_(False)
    for parameter in wanted:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in everything:
            parameter.requires_grad_(True)


@torch.no_grad()
def _look_ahead(
    weights: Sequence[nn.Parameter], gradients: Sequence[Tensor], descent: Descent
) -> None:
    """Take the step that is looked ahead. Without a gradient SGD would not move a weight."""
    for weight, gradient, buffer in zip(weights, gradients, descent.buffers, strict=True):
        if weight.grad is None:
            continue
        update = gradient.add(weight, alpha=descent.weight_decay)
        if buffer is not None:
            update.add_(buffer, alpha=descent.momentum)
        weight.sub_(update, alpha=descent.lr)


@torch.no_grad()
def _move(
    weights: Sequence[nn.Parameter],
    origin: Sequence[Tensor],
    direction: Sequence[Tensor],
    distance: Tensor,
) -> None:
    """Put the weights to origin + distance · direction."""
    for weight, start, part in zip(weights, origin, direction, strict=True):
        weight.copy_(start + distance * part)


def _gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
        for parameter in parameters
    ]


@contextmanager
def untouched_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms of `module` normalise by their batch and do not record its statistics."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    saved = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, tracked in zip(norms, saved, strict=True):
            norm.track_running_stats = tracked
