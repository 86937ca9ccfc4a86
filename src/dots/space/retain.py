"""Which operations the operation search keeps on each edge (Eqs. 14-16)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dots.space.search_space import ZERO, Candidates, Groups, SearchSpace

Scores = Mapping[str, Sequence[Sequence[float]]]
"""For each cell kind, edge and operation of the space: the larger, the better."""

RETAIN_SCHEMES = ("top1", "top2", "group-v1", "group-v2")


def retained_groups(space: SearchSpace, scheme: str) -> Groups:
    """The operation groups whose best each edge keeps, each with a softmax of its own.

    One group of all operations for "top1" and "top2". A group of a single operation joins the
    one before it (the first: the one after it): alone its weight would be 1 whatever its α,
    which would then learn nothing. Raises UserError where the space has no such groups.
    """
    if not scheme.startswith("group-"):
        return (space.operations,)
    return without_single(space.groups_for(scheme.removeprefix("group-")))


def without_single(groups: Groups) -> Groups:
    """The groups, each single operation in the one before it (the first: in the one after it)."""
    merged: list[tuple[str, ...]] = []
    for group in groups:
        if merged and 1 in (len(group), len(merged[-1])):
            merged[-1] += group
        else:
            merged.append(group)
    return tuple(merged)


def retained_count(space: SearchSpace, scheme: str) -> int | None:
    """How many operations an edge keeps; None where the space lacks the scheme's groups."""
    if scheme.startswith("top"):
        real = sum(op != ZERO for op in space.operations)
        return min(int(scheme.removeprefix("top")), real)
    groups = space.groups.get(scheme.removeprefix("group-"))
    return None if groups is None else len(without_single(groups))


def retain(space: SearchSpace, scores: Scores, scheme: str) -> Candidates:
    """The operations kept on each edge, in the order of the space's groups.

    "top1" and "top2" keep the best operations other than Zero, which alone would leave a
    dead edge; "group-v1" and "group-v2" keep the best of each group (Eq. 15), which may be
    Zero. Raises UserError where the space does not have the groups.
    """
    if scheme.startswith("top"):
        count = int(scheme.removeprefix("top"))
        return _per_edge(space, scores, lambda row: _best(space, row, count))
    groups = retained_groups(space, scheme)

    def winners(row: Sequence[float]) -> tuple[str, ...]:
        kept = tuple(max(group, key=lambda op: row[space.operations.index(op)]) for group in groups)
        return kept if any(op != ZERO for op in kept) else (*kept, *_best(space, row, 1))

    return _per_edge(space, scores, winners)


def _best(space: SearchSpace, row: Sequence[float], count: int) -> tuple[str, ...]:
    real = [op for op in space.operations if op != ZERO]
    return tuple(sorted(real, key=lambda op: -row[space.operations.index(op)])[:count])


def _per_edge(
    space: SearchSpace,
    scores: Scores,
    choose: Callable[[Sequence[float]], tuple[str, ...]],
) -> Candidates:
    return {kind: tuple(choose(row) for row in scores[kind]) for kind in space.kinds}
