"""What the operations of a search cost, for the methods that weigh accuracy against cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from dots.nas.budget.cost_table import (
    CostTable,
    Place,
    cost_table,
    counted_tables,
    places,
)
from dots.nas.budget.latency import measure_latencies
from dots.nas.budget.penalty import cost_tensors, expected_cost, real_shares, uniform_kept
from dots.networks.body import Shape
from dots.networks.count import memory_access
from dots.networks.supernet import Mixture
from dots.space.search_space import ZERO, SearchSpace

Resource = Literal["none", "parameters", "multiply-adds", "latency"]
"""Parameters, multiply-adds of one image, or microseconds of one image on this device."""
Costs = dict[str, Tensor]
"""For each cell kind [edges, operations of the space], summed over the cells of that kind."""


def resource_costs(
    space: SearchSpace,
    shape: Shape,
    image_size: int,
    resource: Resource | Literal["memory-access"],
    device: torch.device,
) -> tuple[Costs, float]:
    """What each operation on each edge costs in a derived network of this shape, and the rest.

    The rest are stem, preprocessing and classifier (of memory accesses 0). `image_size` is in
    pixels. Latencies are measured now and differ from call to call: who wants to go on with
    the same ones keeps them.
    """
    table, unit = _table(space, shape, image_size, resource, device), 1.0
    if resource == "latency":
        unit = 1e-3  # of nanoseconds
    tensors = cost_tensors(space, space.full_candidates, table, device)
    return {kind: unit * costs for kind, costs in tensors.items()}, unit * table.fixed


def _table(
    space: SearchSpace,
    shape: Shape,
    image_size: int,
    resource: Resource | Literal["memory-access"],
    device: torch.device,
) -> CostTable:
    if resource == "latency":
        latencies = measure_latencies(space, shape, image_size, device=device)
        return latencies.costs(space, shape, image_size)
    if resource == "memory-access":
        found = places(space, shape, image_size)

        @cache
        def count(op: str, place: Place) -> int:
            return memory_access(op, place.channels, place.stride, place.size, space.own)

        return cost_table(space, found, "memory_access", 0.0, count, space.operations)
    parameters, multiply_adds = counted_tables(space, shape, image_size)
    return parameters if resource == "parameters" else multiply_adds


def expected_network(
    space: SearchSpace, costs: Costs, rest: float, probabilities: Mapping[str, Tensor]
) -> Tensor:
    """The expected cost of a derived network: a scalar, differentiable in the probabilities.

    As a budget expects it: every node keeps as many edges as by the space's policy, all
    choices of them equally probable, and on them the operations but Zero, by their share.
    `probabilities` are [edges, operations of the space] for each cell kind.
    """
    edges = uniform_kept(space, "any" if space.policy_edges is None else space.policy_edges)
    real = torch.tensor([float(op != ZERO) for op in space.operations])
    shares = {kind: Mixture(real_shares(p, real.to(p))) for kind, p in probabilities.items()}
    kept = {kind: row.to(probabilities[kind]) for kind, row in edges.items()}
    return expected_cost(shares, costs, kept, rest)
