"""Second derivatives of functions that have a first one of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def differentiable_gradients(
    y: Tensor, gradient: Tensor, inputs: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of y's inputs by automatic differentiation, to be differentiated again.

    gradient: that of y, which was computed from the inputs by stock modules; None where one is
    not needed.
    """
    wanted = [x for x, needs in zip(inputs, needed, strict=True) if needs and x is not None]
    found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True))
    return [next(found) if needs else None for needs in needed]
