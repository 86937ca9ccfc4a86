"""Weights and momentum from one supernet to another that has fewer or wider operations."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from dots.networks.supernet import SearchCell, Supernet

_OPERATION = re.compile(r"(body\.cells\.(\d+)\.edges\.(\d+)\..*?operations\.)(\d+)(\..*)?")


def transfer_weights(
    old: Supernet, old_sgd: torch.optim.SGD, new: Supernet, new_sgd: torch.optim.SGD
) -> None:
    """Give `new` the weights, statistics and SGD momentum of the same operations in `old`.

    Where the new tensor is wider its further channels repeat the old ones from the first on.
    What `old` does not have keeps its new values.
    """
    _carry_weights(old, new)
    _carry_momentum(_parameters(old), old_sgd, _parameters(new), new_sgd)


def widened(tensor: Tensor, shape: torch.Size) -> Tensor:
    """`tensor` in a larger `shape`: index i of an axis holds what i modulo the old size held."""
    for axis, size in enumerate(shape):
        if size != tensor.shape[axis]:
            index = torch.arange(size, device=tensor.device) % tensor.shape[axis]
            tensor = tensor.index_select(axis, index)
    return tensor


@torch.no_grad()
def _carry_weights(old: Supernet, new: Supernet) -> None:
    source = {_stable_name(old, name): tensor for name, tensor in old.state_dict().items()}
    for name, tensor in new.state_dict().items():
        found = source.get(_stable_name(new, name))
        if found is not None:
            tensor.copy_(widened(found, tensor.shape))


@torch.no_grad()
def _carry_momentum(
    old: dict[str, nn.Parameter],
    old_sgd: torch.optim.SGD,
    new: dict[str, nn.Parameter],
    new_sgd: torch.optim.SGD,
) -> None:
    for name, parameter in new.items():
        if name not in old:
            continue
        buffer = old_sgd.state.get(old[name], {}).get("momentum_buffer")
        if buffer is not None:
            copy = torch.empty_like(parameter).copy_(widened(buffer, parameter.shape))
            new_sgd.state[parameter]["momentum_buffer"] = copy


def _parameters(supernet: Supernet) -> dict[str, nn.Parameter]:
    return {_stable_name(supernet, name): p for name, p in supernet.named_parameters()}


def _stable_name(supernet: Supernet, name: str) -> str:
    """`name` with an operation's name instead of its place among its edge's candidates."""
    match = _OPERATION.fullmatch(name)
    if match is None:
        return name
    prefix, cell, edge, place, rest = match.groups(default="")
    owner = supernet.body.cells[int(cell)]
    assert isinstance(owner, SearchCell)
    operation = supernet.candidates[owner.kind][int(edge)][int(place)]
    return f"{prefix}{operation}{rest}"
