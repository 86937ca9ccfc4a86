"""Eqs. (14)-(16): what an edge keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dots.common.errors import UserError
from dots.space.retain import RETAIN_SCHEMES, retain, retained_count, retained_groups
from dots.space.search_space import (
    DARTS_OPERATIONS,
    SearchSpace,
    darts_space,
    named_space,
    nasbench201_space,
)

SPACE = darts_space(nodes=1)
NONE, MAX, AVG, SKIP, SEP3, SEP5, DIL3, DIL5 = DARTS_OPERATIONS


def _scores(row: dict[str, float], space: SearchSpace = SPACE) -> dict[str, list[list[float]]]:
    values = [row.get(op, 0.0) for op in space.operations]
    return {kind: [values] * len(space.cell.edges) for kind in space.kinds}


ROW = {NONE: 9.0, SKIP: 3.0, SEP5: 2.0, DIL3: 1.0, MAX: 0.5}


def test_top1_is_equation_14_without_zero() -> None:
    assert retain(SPACE, _scores(ROW), "top1")["normal"][0] == (SKIP,)


def test_top2_keeps_the_two_best() -> None:
    assert retain(SPACE, _scores(ROW), "top2")["reduce"][1] == (SKIP, SEP5)


def test_group_v2_keeps_the_best_of_each_group_and_may_keep_zero() -> None:
    assert retain(SPACE, _scores(ROW), "group-v2")["normal"][0] == (NONE, SEP5)
    without = {**ROW, NONE: -1.0}
    assert retain(SPACE, _scores(without), "group-v2")["normal"][0] == (SKIP, SEP5)


def test_group_v1_keeps_four() -> None:
    assert retain(SPACE, _scores(ROW), "group-v1")["normal"][0] == (NONE, MAX, SEP5, DIL3)


def test_every_edge_decides_for_itself() -> None:
    scores = {kind: [[0.0] * 8, [0.0] * 8] for kind in SPACE.kinds}
    scores["normal"][0][4] = 1.0
    scores["normal"][1][7] = 1.0
    kept = retain(SPACE, scores, "top1")
    assert kept["normal"] == ((SEP3,), (DIL5,))


def test_other_spaces_have_other_groups() -> None:
    space = nasbench201_space()
    row = {"none": 2.0, "skip_connect": 1.0, "nor_conv_1x1": 0.5}
    kept = retain(space, _scores(row, space), "group-v2")["normal"]
    assert kept == (("none", "nor_conv_1x1"),) * 6
    with pytest.raises(UserError, match="has no operation groups 'v1'"):
        retain(space, _scores(row, space), "group-v1")


@pytest.mark.parametrize("scheme", RETAIN_SCHEMES)
@pytest.mark.parametrize(
    "space",
    [
        *map(named_space, ("darts", "s2", "s3", "s4", "nasbench201")),
        darts_space(operations=(MAX, SKIP, SEP3, SEP5, DIL3)),
        darts_space(operations=(NONE, SKIP, MAX, SEP3)),
        replace(SPACE, groups={"v1": ((SEP3,), (MAX,), (SKIP, AVG)), "v2": ((NONE,), (SKIP,))}),
    ],
)
def test_no_softmax_is_over_one_operation(space: SearchSpace, scheme: str) -> None:
    """A group of one is merged, in any space; the groups' operations stay, in their order."""
    try:
        groups = retained_groups(space, scheme)
    except UserError:
        assert scheme.removeprefix("group-") not in space.groups
        return
    assert all(len(group) > 1 for group in groups)
    if scheme.startswith("group-"):
        given = space.groups[scheme.removeprefix("group-")]
        assert [op for group in groups for op in group] == [op for group in given for op in group]
    scores = {kind: [[1.0] * len(space.operations)] * len(space.cell.edges) for kind in space.kinds}
    kept = retain(space, scores, scheme)
    assert all(set(names) <= set(space.operations) for names in kept["normal"])


def test_a_lone_operation_joins_its_neighbours() -> None:
    space = darts_space(operations=(NONE, SKIP, MAX, SEP3, SEP5, DIL3))
    assert retained_groups(space, "group-v1") == ((NONE, SKIP, MAX), (SEP3, SEP5, DIL3))
    assert retained_groups(named_space("s2"), "group-v2") == ((SKIP, SEP3),)
    assert retained_groups(SPACE, "group-v1") == SPACE.groups["v1"]


@pytest.mark.parametrize("scheme", RETAIN_SCHEMES)
def test_something_other_than_zero_is_always_kept(scheme: str) -> None:
    kept = retain(SPACE, _scores({NONE: 1.0}), scheme)
    assert all(any(op != NONE for op in names) for edges in kept.values() for names in edges)


@pytest.mark.parametrize("name", ["darts", "nasbench201", "s2", "s3", "s4"])
@pytest.mark.parametrize("scheme", RETAIN_SCHEMES)
def test_the_count_is_what_an_edge_keeps(name: str, scheme: str) -> None:
    space = named_space(name)
    count = retained_count(space, scheme)
    rising = dict(zip(space.operations, range(len(space.operations)), strict=True))
    scores = _scores({op: float(place) for op, place in rising.items()}, space)
    if count is None:
        with pytest.raises(UserError, match="no operation groups"):
            retain(space, scores, scheme)
        return
    kept = retain(space, scores, scheme)
    assert {len(edge) for edges in kept.values() for edge in edges} == {count}
