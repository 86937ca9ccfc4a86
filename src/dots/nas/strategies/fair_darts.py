"""FairDARTS (Chu et al., ECCV 2020): operations that do not compete, pushed to zero or one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dots.nas.strategies.base import GradientSearch, MethodSettings, Mixtures, Phase, without_zero
from dots.nas.strategies.darts import Darts
from dots.networks.supernet import Mixture
from dots.space.discretise import ChosenEdges, build_genotype
from dots.space.genotype import Genotype
from dots.space.search_space import ZERO, SearchSpace


class FairDartsSettings(MethodSettings):
    """FairDARTS' own settings; the defaults are the published ones."""

    zero_one_weight: float = Field(
        default=10.0, ge=0, le=1e4, description="ω, the weight of the zero-one loss"
    )
    threshold: float = Field(
        default=0.85, gt=0, lt=1, description="the derived cell has operations with σ(α) above it"
    )
    derivation: Literal["sparse", "edge"] = Field(
        default="sparse",
        description="'sparse': at most one operation on the best edges of a node; 'edge': at "
        "most two on every edge",
    )


class FairDarts(GradientSearch):
    """Each operation has a gate of its own, σ(α); Zero, which they make needless, is absent.

    The architecture step adds ω times the zero-one loss to the cross-entropy, which drives
    the gates away from ½. α starts at zero: every gate at ½.
    """

    name: ClassVar[str] = "fair-darts"
    Settings: ClassVar[type[MethodSettings]] = FairDartsSettings
    published: ClassVar[Mapping[str, object]] = MappingProxyType(
        {**Darts.published, "batch": 128, "lr": 0.005, "arch_lr": 3e-3, "arch_betas": (0.9, 0.999)}
    )
    spread: ClassVar[float] = 0.0
    method: FairDartsSettings

    def searched_operations(self) -> tuple[str, ...]:
        return without_zero(self.context.space)

    def mixtures(self, phase: Phase) -> Mixtures:
        return {kind: Mixture(torch.sigmoid(alpha)) for kind, alpha in self.alpha.items()}

    def penalty(self) -> Tensor | None:
        return self.method.zero_one_weight * zero_one_loss(list(self.alpha.values()))

    def derive(self) -> Genotype:
        """The gates above the threshold: any number of edges for a node, possibly none.

        "sparse": the best operation of the space's usual number of edges for each node.
        "edge": the two best of every edge. The published threshold presumes gates that have
        come close to 0 or 1. Where it would leave a cell whose output depends on no input, it
        is lowered for that cell until the output depends on one.
        """
        space, method = self.context.space, self.method
        sparse = method.derivation == "sparse"
        edges, operations = (space.policy_edges, 1) if sparse else (None, 2)
        chosen = {}
        for kind, rows in self.scores().items():
            for limit in _thresholds(rows, method.threshold):
                chosen[kind] = edges_above(space, rows, limit, edges, operations)
                if _connected(space, chosen[kind]):
                    break
        return build_genotype(space, chosen)


def zero_one_loss(alphas: Sequence[Tensor]) -> Tensor:
    """-mean((σ(α) - ½)²) over all gates of all cells; -¼ where each is 0 or 1, 0 at ½."""
    gates = torch.sigmoid(torch.cat([alpha.flatten() for alpha in alphas]))
    return -((gates - 0.5) ** 2).mean()


def edges_above(
    space: SearchSpace,
    rows: Sequence[Sequence[float]],
    threshold: float,
    edges: int | None,
    operations: int,
) -> ChosenEdges:
    """The kept edges of a cell and their operations, whose gates are at least `threshold`.

    `rows` [edges of the cell, operations of the space] are gates. A node may keep the
    `edges` whose largest gates are largest (None: all), an edge its best `operations`.
    """
    ranked = []
    for row in rows:
        gates = [(gate, op) for gate, op in zip(row, space.operations, strict=True) if op != ZERO]
        ranked.append(sorted(gates, key=lambda pair: -pair[0])[:operations])
    chosen: dict[int, tuple[str, ...]] = {}
    for incoming in space.cell.incoming:
        for index in sorted(incoming, key=lambda index: -ranked[index][0][0])[:edges]:
            names = tuple(op for gate, op in ranked[index] if gate >= threshold)
            if names:
                chosen[index] = names
    return chosen


def _thresholds(rows: Sequence[Sequence[float]], threshold: float) -> Iterator[float]:
    """The threshold, then every gate below it, from the largest on."""
    yield threshold
    gates = {gate for row in rows for gate in row}
    yield from sorted((gate for gate in gates if gate < threshold), reverse=True)


def _connected(space: SearchSpace, chosen: ChosenEdges) -> bool:
    """Whether the output of a cell with these edges depends on an input."""
    live = set(range(space.cell.inputs))
    for index, (source, target) in enumerate(space.cell.edges):
        if index in chosen and source in live:
            live.add(target)
    return not live.isdisjoint(space.cell.concat)
