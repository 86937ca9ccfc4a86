"""What the operations of a supernet cost, for the methods that weigh accuracy against cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from dots.common.seeding import isolated_random_state
from dots.networks.body import ImageNetStem
from dots.networks.count import operation_cost, operation_latency
from dots.networks.supernet import Supernet

Resource = Literal["none", "parameters", "multiply-adds", "latency"]
"""Parameters, multiply-adds of one image, or microseconds of one image on this device."""
Costs = dict[str, Tensor]
"""For each cell kind [edges, operations of the space], summed over the cells of that kind."""

_Measure = Callable[[str, int, int, int], float]


def edge_costs(
    supernet: Supernet, image_size: int, resource: Resource, device: torch.device
) -> Costs:
    """What each operation on each edge would cost in a derived network of the supernet's size.

    `image_size` is in pixels. Latencies are measured now and differ from call to call: who
    wants to go on with the same ones keeps them.
    """
    measure = cache(_measure(resource, device))
    space, body = supernet.space, supernet.body
    columns, spec = space.operations, space.cell
    table = {kind: torch.zeros(len(spec.edges), len(columns)) for kind in space.kinds}
    size = image_size
    for _ in range(3 if isinstance(body.stem, ImageNetStem) else 0):
        size = _halved(size)
    for plan in body.plans:
        size = _halved(size) if plan.transition else size
        inner = _halved(size) if plan.reduction else size
        for index, (source, _) in enumerate(spec.edges):
            from_input = source < spec.inputs
            stride = 2 if plan.reduction and from_input else 1
            for column, name in enumerate(columns):
                cost = measure(name, plan.channels, stride, size if from_input else inner)
                table[plan.kind][index, column] += cost
        size = inner
    return {kind: costs.to(device) for kind, costs in table.items()}


def expected_cost(costs: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """Σ weight · cost over cell kinds, edges and operations: a scalar, differentiable."""
    return torch.stack([(weights[kind] * table).sum() for kind, table in costs.items()]).sum()


def _halved(size: int) -> int:
    return (size + 1) // 2


def _measure(resource: Resource, device: torch.device) -> _Measure:
    def latency(name: str, channels: int, stride: int, size: int) -> float:
        with isolated_random_state():  # measuring must not change what is drawn afterwards
            return 1e6 * operation_latency(name, channels, stride, size, device=device)

    match resource:
        case "parameters":
            return lambda *operation: operation_cost(*operation).parameters
        case "multiply-adds":
            return lambda *operation: operation_cost(*operation).multiply_adds
        case "latency":
            return latency
        case "none":
            return lambda *operation: 0.0
