"""StacNAS: representatives, then the winner's cluster; one level; ranking by raw α."""

from __future__ import annotations

import pytest
import torch

from dots.common.errors import UserError
from dots.nas.strategies.stac_nas import StacNas
from dots.space.retain import retain
from dots.space.search_space import ZERO, darts_space, nasbench201_space
from helpers import searches, small

SPACE = darts_space(nodes=2)
REPRESENTATIVES = (ZERO, "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")


def set_alpha(search: StacNas, rows: dict[int, dict[str, float]]) -> None:
    """α of the normal cell: by edge, then by operation; 0 elsewhere."""
    table = torch.zeros(searches.EDGES, 8)
    for edge, values in rows.items():
        for name, value in values.items():
            table[edge, SPACE.operations.index(name)] = value
    search.alpha["normal"].data = table


def test_stage_one_has_a_representative_of_each_cluster_and_zero() -> None:
    search = searches.search(StacNas)
    assert set(search.supernet.candidates["normal"]) == {REPRESENTATIVES}
    assert set(search.supernet.candidates["reduce"]) == {REPRESENTATIVES}
    benchmark = searches.search(StacNas, nasbench201_space())
    expected = (ZERO, "skip_connect", "nor_conv_3x3", "avg_pool_3x3")
    assert set(benchmark.supernet.candidates["normal"]) == {expected}


def test_stage_two_has_the_winning_cluster_and_zero() -> None:
    search = searches.search(StacNas, epochs=2, cells=7)
    set_alpha(
        search,
        {
            0: {"max_pool_3x3": 1.0},
            1: {"skip_connect": 1.0},
            2: {"sep_conv_3x3": 1.0},
            3: {"dil_conv_3x3": 1.0},
            4: {ZERO: 9.0, "sep_conv_3x3": 0.1},  # Zero does not win
        },
    )
    search.begin_epoch(1)
    assert search.supernet.candidates["normal"] == (
        (ZERO, "max_pool_3x3", "avg_pool_3x3"),
        (ZERO, "skip_connect"),
        (ZERO, "sep_conv_3x3", "sep_conv_5x5"),
        (ZERO, "dil_conv_3x3", "dil_conv_5x5"),
        (ZERO, "sep_conv_3x3", "sep_conv_5x5"),
    )
    assert len(search.supernet.body.cells) == 10  # 7 · 20/14
    assert search.alpha["normal"].abs().max() < 0.01


def test_losing_clusters_keep_the_order_of_stage_one() -> None:
    search = searches.search(StacNas, epochs=2)
    set_alpha(
        search,
        {e: {"sep_conv_3x3": 2.0, "dil_conv_3x3": 1.0, "skip_connect": 0.5} for e in range(5)},
    )
    search.begin_epoch(1)
    row = dict(zip(SPACE.operations, search.scores()["normal"][0], strict=True))
    survivors = {ZERO, "sep_conv_3x3", "sep_conv_5x5"}
    assert {op for op, score in row.items() if score >= 0} == survivors
    lost = sorted((op for op in row if op not in survivors), key=lambda op: -row[op])
    assert lost == [
        "dil_conv_3x3", "dil_conv_5x5", "skip_connect", "max_pool_3x3", "avg_pool_3x3",
    ]  # fmt: skip
    kept = retain(SPACE, search.scores(), "group-v1")["normal"][0]
    assert {"dil_conv_3x3", "max_pool_3x3"} <= set(kept)


def test_w_and_alpha_learn_from_one_gradient() -> None:
    search = searches.search(StacNas, epochs=2)
    assert search.one_level
    assert not search.wants_architecture_batch(0)
    weight = search.supernet.body.classifier.weight
    old = weight.detach().clone(), search.alpha["normal"].detach().clone()
    search.step(0, small.batch(), None)
    assert not torch.equal(weight, old[0])
    kept = search.pruning.kept["normal"]
    assert bool((search.alpha["normal"].grad[kept] != 0).all())
    assert bool((search.alpha["normal"].grad[~kept] == 0).all())
    assert not torch.equal(search.alpha["normal"], old[1])


def test_weight_only_epochs_leave_alpha() -> None:
    search = searches.search(StacNas, epochs=4, weight_epochs=2)
    old = search.alpha["normal"].detach().clone()
    search.step(0, small.batch(), None)
    assert torch.equal(search.alpha["normal"], old)


@pytest.mark.parametrize(("by_alpha", "sources"), [(True, [0, 1]), (False, [1, 2])])
def test_edges_are_ranked_by_raw_alpha_as_published(by_alpha: bool, sources: list[int]) -> None:
    """Edge 2 has the largest α and, Zero being strong there, the smallest softmax."""
    search = searches.search(StacNas, method={"rank_by_alpha": by_alpha}, epochs=2)
    wins = {e: {"sep_conv_3x3": 1.0} for e in range(5)}
    set_alpha(search, wins)
    search.begin_epoch(1)
    set_alpha(
        search,
        {
            2: {"sep_conv_5x5": 5.0, ZERO: 9.0},
            3: {"sep_conv_3x3": 2.0},
            4: {"sep_conv_5x5": 1.0},
        },
    )
    node = search.derive().cells["normal"].nodes[1]
    assert [edge.source for edge in node] == sources
    ops = {0: "sep_conv_5x5", 1: "sep_conv_3x3", 2: "sep_conv_5x5"}
    assert [edge.op for edge in node] == [ops[source] for source in sources]


def test_a_space_without_clusters_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'stac-nas' needs clusters.*'bare'"):
        searches.search(StacNas, darts_space(2, (ZERO, "skip_connect"), name="bare"))
