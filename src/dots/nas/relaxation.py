"""From architecture parameters to mixing weights: Eqs. (2), (6), (9) and sampled variants."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Temperature = float | Tensor
"""A number, or a tensor of one, which a step that has been captured reads anew."""


def softmax(logits: Tensor, temperature: Temperature = 1.0) -> Tensor:
    """softmax(logits / temperature) over the last dimension (Eqs. 2 and 6)."""
    return torch.softmax(logits / temperature, dim=-1)


def group_softmax(
    logits: Tensor, groups: Sequence[Sequence[int]], temperature: float = 1.0
) -> Tensor:
    """An independent softmax in each group of columns (Sec. 4.2.2); [E, O] -> [E, O].

    `groups` partitions the columns; each group's weights sum to one.
    """
    order = [column for group in groups for column in group]
    parts = [softmax(select_columns(logits, group), temperature) for group in groups]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return select_columns(torch.cat(parts, dim=1), inverse)


def select_columns(table: Tensor, columns: Sequence[int]) -> Tensor:
    """These columns, [E, O] -> [E, columns]. An index by a list would be copied to the device."""
    rows = table.unbind(1)
    return torch.stack([rows[column] for column in columns], dim=1)


def masked_softmax(logits: Tensor, mask: Tensor, temperature: Temperature = 1.0) -> Tensor:
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
