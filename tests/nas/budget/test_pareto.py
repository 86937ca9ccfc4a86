"""Domination against its definition."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dots.nas.budget.most_probable import Point, best_within, extend, prune

POINTS = st.lists(
    st.builds(
        Point,
        st.integers(0, 6).map(float),
        st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)),
    ),
    max_size=12,
)


def dominates(a: Point, b: Point) -> bool:
    return a.score >= b.score and all(x <= y for x, y in zip(a.costs, b.costs, strict=True))


@settings(deadline=None)
@given(POINTS, st.integers(1, 3))
def test_what_is_pruned_has_k_kept_dominators_and_what_is_kept_has_not(
    points: list[Point], k: int
) -> None:
    kept = prune(points, k)
    for index, point in enumerate(points):
        better = [other for other in kept if other != index and dominates(points[other], point)]
        if index not in kept:
            assert len(better) >= k
        else:
            strictly = [other for other in better if points[other] != point]
            assert len(strictly) < k


@settings(deadline=None)
@given(POINTS, POINTS, st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_sums_keep_the_best_score_for_every_room(
    rest: list[Point], options: list[Point], room: tuple[int, int]
) -> None:
    limit = (float(room[0]), float(room[1]))
    front = extend(rest, options, limit)
    sums = [
        Point(a.score + b.score, (a.costs[0] + b.costs[0], a.costs[1] + b.costs[1]))
        for a in rest
        for b in options
    ]
    for x in range(int(limit[0]) + 1):
        for y in range(int(limit[1]) + 1):
            inside = [p.score for p in sums if p.costs[0] <= x and p.costs[1] <= y]
            assert best_within(front, (x, y)) == (max(inside) if inside else None)
    assert not any(dominates(a, b) for a in front for b in front if a is not b)


def test_without_limits_only_the_best_is_left() -> None:
    points = [Point(1.0, ()), Point(3.0, ()), Point(2.0, ())]
    assert prune(points, 2) == [1, 2]
    assert extend([Point(0.0, ())], points, ()) == [Point(3.0, ())]
