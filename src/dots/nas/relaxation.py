"""From architecture parameters to mixing weights: Eqs. (2), (6), (9) and sampled variants."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """softmax(logits / temperature) over the last dimension (Eqs. 2 and 6)."""
    return torch.softmax(logits / temperature, dim=-1)


def group_softmax(
    logits: Tensor, groups: Sequence[Sequence[int]], temperature: float = 1.0
) -> Tensor:
    """An independent softmax in each group of columns (Sec. 4.2.2); [E, O] -> [E, O].

    `groups` partitions the columns; each group's weights sum to one.
    """
    order = [column for group in groups for column in group]
    parts = [softmax(logits[:, list(group)], temperature) for group in groups]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return torch.cat(parts, dim=1)[:, inverse]


def masked_softmax(logits: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """A softmax over the entries where `mask` is true, zero elsewhere; rows keep an entry."""
    return softmax(logits.masked_fill(~mask, -math.inf), temperature)


def gumbel(shape: torch.Size, like: Tensor) -> Tensor:
    """Standard Gumbel noise -log(-log u), u kept away from 0 and 1."""
    tiny = torch.finfo(torch.float32).tiny
    uniform = torch.rand(shape, device=like.device, dtype=torch.float32)
    uniform = uniform.clamp(tiny, 1 - torch.finfo(torch.float32).eps)
    return -torch.log(-torch.log(uniform)).to(like.dtype)


def straight_through(probabilities: Tensor) -> Tensor:
    """One-hot of the row maximum in value, `probabilities` in gradient; [E, O] -> [E, O]."""
    hard = torch.zeros_like(probabilities)
    hard.scatter_(-1, probabilities.detach().argmax(dim=-1, keepdim=True), 1.0)
    return hard + (probabilities - probabilities.detach())
