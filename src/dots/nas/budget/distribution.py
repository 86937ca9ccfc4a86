"""What a topology search believes: how probable each topology and each operation is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dots.common.errors import UserError, shown
from dots.common.records import TopologyRecord
from dots.space.edge_combinations import Combination, EdgeChoice, node_choices
from dots.space.search_space import ZERO, Candidates, SearchSpace

Scored = tuple[Combination, float]
"""A combination of a node's incoming edges, and the logarithm of its probability."""
T = TypeVar("T")
ByKind = Mapping[str, Sequence[Sequence[float]]]
"""For each cell kind and node, or edge, some numbers."""


@dataclass(frozen=True)
class ArchitectureDistribution:
    """Log probabilities: of the combinations of each node, and of the operations of each edge.

    The operations are those that the edge retained, without Zero, which no cell holds;
    their probabilities sum to one. Nodes are independent of each other, as are edges.
    """

    space: SearchSpace
    combinations: Mapping[str, tuple[tuple[Scored, ...], ...]]
    operations: Mapping[str, tuple[tuple[tuple[str, float], ...], ...]]


def architecture_distribution(
    space: SearchSpace,
    candidates: Candidates,
    beta: ByKind,
    alpha: ByKind,
    *,
    parameterisation: str = "combinations",
    edges: EdgeChoice = "pairs",
    threshold: float = 0.5,
    temperature: float = 1.0,
) -> ArchitectureDistribution:
    """From the raw parameters β and α' of a topology search.

    The probabilities are those at temperature 1: the annealed ones that the search ends with
    are one-hot and rank nothing but the best. With "edges" a node keeps as many edges as the
    search would, and a combination is as probable as the product of its edges; with
    "sigmoid" every edge is kept or not by itself, and no node is left without an edge; it is
    above the `threshold` at the `temperature` that the search ends with.
    """
    choices = node_choices(parameterisation, edges, threshold)
    scored: dict[str, tuple[tuple[Scored, ...], ...]] = {}
    for kind in space.kinds:
        nodes = []
        for incoming, row in zip(map(len, space.cell.incoming), beta[kind], strict=True):
            logits = choices.logits(incoming, row, temperature)
            nodes.append(_normalised(list(zip(choices.choices(incoming), logits, strict=True))))
        scored[kind] = tuple(nodes)
    gates = {
        kind: tuple(
            _operations(names, row)
            for names, row in zip(candidates[kind], alpha[kind], strict=True)
        )
        for kind in space.kinds
    }
    return ArchitectureDistribution(space, scored, gates)


def uniform_distribution(
    space: SearchSpace,
    candidates: Candidates,
    *,
    parameterisation: str = "combinations",
    edges: EdgeChoice = "pairs",
    threshold: float = 0.5,
) -> ArchitectureDistribution:
    """The same before any search: all combinations are equally probable, and all operations."""
    choices = node_choices(parameterisation, edges, threshold)
    lengths = [len(choices.columns(len(incoming))) for incoming in space.cell.incoming]
    return architecture_distribution(
        space,
        candidates,
        {kind: [[0.0] * length for length in lengths] for kind in space.kinds},
        {kind: [[0.0] * len(names) for names in candidates[kind]] for kind in space.kinds},
        parameterisation=parameterisation,
        edges=edges,
        threshold=threshold,
    )


def recorded_distribution(
    space: SearchSpace,
    candidates: Candidates,
    record: TopologyRecord | Mapping[str, Any],
    threshold: float = 0.5,
) -> ArchitectureDistribution:
    """From the content of a run's topology.json. Raises UserError where α' is not in it."""
    record = TopologyRecord.model_validate(record)
    if not record.alpha:
        given = shown(sorted(record.model_fields_set))
        raise UserError(f"the topology record has no 'alpha' but {given}: search again")
    return architecture_distribution(
        space,
        candidates,
        record.beta,
        record.alpha,
        parameterisation=record.parameterisation,
        edges=record.edges,
        threshold=threshold,
        temperature=record.temperature,
    )


def _operations(names: Sequence[str], alpha: Sequence[float]) -> tuple[tuple[str, float], ...]:
    """The retained operations but Zero; `alpha` may have columns beyond them."""
    real = [(name, a) for name, a in zip(names, alpha, strict=False) if name != ZERO]
    return _normalised(real)


def _normalised(logits: Sequence[tuple[T, float]]) -> tuple[tuple[T, float], ...]:
    """The logarithm of a softmax."""
    highest = max(logit for _, logit in logits)
    total = highest + math.log(sum(math.exp(logit - highest) for _, logit in logits))
    return tuple((value, logit - total) for value, logit in logits)
