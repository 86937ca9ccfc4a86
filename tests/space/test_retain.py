"""Eqs. (14)-(16): what an edge keeps."""

from __future__ import annotations

import pytest

from dots.common.errors import UserError
from dots.space.retain import retain
from dots.space.search_space import DARTS_OPERATIONS, SearchSpace, darts_space, nasbench201_space

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


@pytest.mark.parametrize("scheme", ["top1", "top2", "group-v1", "group-v2"])
def test_something_other_than_zero_is_always_kept(scheme: str) -> None:
    kept = retain(SPACE, _scores({NONE: 1.0}), scheme)
    assert all(any(op != NONE for op in names) for edges in kept.values() for names in edges)
