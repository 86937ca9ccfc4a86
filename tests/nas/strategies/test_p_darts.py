"""P-DARTS: depths, what is dropped, dropout on skips, and the restriction of skips."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dots.common.errors import UserError
from dots.nas.strategies.base import ScoreTable
from dots.nas.strategies.p_darts import SKIP, DroppedIdentity, PDarts, restrict_skips, skip_edges
from dots.networks.operations.candidates import FactorizedReduce
from dots.networks.operations.source import Source
from dots.space.discretise import derive_darts
from dots.space.search_space import ZERO, SearchSpace, darts_space, named_space, nasbench201_space
from helpers import searches, small

SPACE = darts_space(nodes=2)
COLUMN = SPACE.operations.index(SKIP)


def counts(search: PDarts) -> set[int]:
    edges = [edge for cell in search.supernet.body.cells for edge in cell.edges]
    return {len(edge.operations) for edge in edges}


def test_stages_deepen_and_lose_operations() -> None:
    search = searches.search(PDarts, epochs=3, cells=8)
    seen = []
    for epoch in range(3):
        search.begin_epoch(epoch)
        seen.append((len(search.supernet.body.cells), counts(search)))
    assert seen == [(5, {8}), (11, {5}), (17, {3})]


@pytest.mark.parametrize(
    ("space", "expected"),
    [(nasbench201_space(), [5, 3, 2]), (named_space("s2", 2), [2, 2, 2]),
     (named_space("s3", 2), [3, 2, 2])],
    ids=["nasbench201", "s2", "s3"],
)  # fmt: skip
def test_numbers_of_operations_scale(space: SearchSpace, expected: list[int]) -> None:
    search = searches.search(PDarts, space, epochs=3)
    seen = []
    for epoch in range(3):
        search.begin_epoch(epoch)
        seen += counts(search)
    assert seen == expected


def test_each_edge_loses_its_lightest_operations_and_starts_anew() -> None:
    search = searches.search(PDarts, epochs=3)
    old = {kind: torch.randn(searches.EDGES, 8) for kind in search.alpha}
    for kind, alpha in search.alpha.items():
        alpha.data = old[kind].clone()
    first_weights = search.supernet.body.classifier.weight
    search.begin_epoch(1)
    for kind, table in old.items():
        for edge, row in enumerate(table.tolist()):
            best = sorted(range(8), key=lambda op: -row[op])[:5]
            expected = tuple(op for i, op in enumerate(SPACE.operations) if i in best)
            assert search.pruning.candidates[kind][edge] == expected
        assert search.alpha[kind].abs().max() < 0.01
        assert not torch.equal(search.alpha[kind], old[kind])
    assert search.supernet.body.classifier.weight is not first_weights
    assert not search.weight_optimiser.sgd.state
    assert not search.architecture_optimiser.adam.state
    learning = search.architecture_optimiser.parameters
    assert {id(p) for p in learning} == {id(p) for p in search.alpha.values()}


def test_zero_may_survive_two_stages() -> None:
    search = searches.search(PDarts, epochs=3)
    for epoch in (1, 2):
        for alpha in search.alpha.values():
            alpha.data[:, 0] = 5.0
        search.begin_epoch(epoch)
    assert all(ZERO in names for names in search.pruning.candidates["normal"])
    assert all(edge.op != ZERO for node in search.derive().cells["normal"].nodes for edge in node)


def test_dropped_columns_neither_mix_nor_learn() -> None:
    search = searches.search(PDarts, epochs=3)
    search.begin_epoch(2)
    search.set_epoch(2)
    search.step(2, small.batch(), small.batch(seed=1))
    for kind, alpha in search.alpha.items():
        kept = search.pruning.kept[kind]
        assert kept.sum(1).tolist() == [3] * searches.EDGES
        assert bool((alpha.grad[~kept] == 0).all())
        assert bool((alpha.grad[kept] != 0).all())
        weights = torch.tensor(search.mixing_weights()[kind])
        torch.testing.assert_close(weights.sum(1), torch.ones(searches.EDGES))
        assert bool((weights[~kept] == 0).all())


def test_dropout_follows_the_published_schedule() -> None:
    search = searches.search(PDarts, epochs=75, weight_epochs=30)
    expected = {0: 0.1 * 24 / 25, 9: 0.1 * 15 / 25, 10: 0.1, 12: 0.1 * math.exp(-0.4),
                25: 0.4 * 24 / 25, 35: 0.4, 59: 0.7 * 0.6, 60: 0.7,
                74: 0.7 * math.exp(-0.2 * 14)}  # fmt: skip
    for epoch, rate in expected.items():
        assert search.skip_dropout(epoch) == pytest.approx(rate), epoch
    search.set_epoch(9)
    assert search.dropout.p == pytest.approx(0.06)


def test_dropout_is_on_identities_alone() -> None:
    search = searches.search(PDarts)
    for cell in search.supernet.body.cells:
        for (source, _), edge in zip(SPACE.cell.edges, cell.edges, strict=True):
            skip = edge.operations[COLUMN]
            halves = cell.reduction and source < 2
            assert type(skip) is (FactorizedReduce if halves else DroppedIdentity)
    dropouts = {id(m) for m in search.supernet.modules() if isinstance(m, nn.Dropout)}
    assert dropouts == {id(search.dropout)}


def test_dropout_is_of_single_values_and_off_in_evaluation() -> None:
    dropout = nn.Dropout(0.5)
    identity = DroppedIdentity(dropout)
    torch.manual_seed(0)
    out = identity(Source(torch.ones(2, 3, 16, 16))).features
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert 0.4 < float((out == 0).float().mean()) < 0.6
    assert not torch.equal(out[0, 0], out[0, 1])
    identity.eval()
    assert torch.equal(identity(Source(torch.ones(2, 3, 4, 4))).features, torch.ones(2, 3, 4, 4))


def table_of(rows: list[list[float]]) -> ScoreTable:
    return {"normal": rows, "reduce": [row[:] for row in rows]}


Rows = st.lists(
    st.lists(st.floats(-3, 1, allow_nan=False), min_size=8, max_size=8), min_size=5, max_size=5
)


@settings(deadline=None, max_examples=60)
@given(rows=Rows, most=st.integers(0, 3))
def test_restriction_leaves_at_most_so_many_skips(rows: list[list[float]], most: int) -> None:
    for row in rows:
        row[COLUMN] += 2  # skips win nearly everywhere
    genotype = restrict_skips(SPACE, table_of(rows), most)
    assert len(skip_edges(SPACE, genotype)) <= most
    plain = derive_darts(SPACE, table_of(rows))
    assert genotype.cells["reduce"] == plain.cells["reduce"]
    if len(skip_edges(SPACE, plain)) <= most:
        assert genotype == plain


def test_restriction_strikes_the_smallest_skip_first() -> None:
    """Node 1 has edges 0, 1; node 2 edges 2, 3, 4. All prefer the skip."""
    rows = [[-1.0] * 8 for _ in range(5)]
    for edge, (skip, second) in enumerate(
        [(0.9, 0.05), (0.8, 0.1), (0.7, 0.25), (0.6, 0.3), (0.5, 0.4)]
    ):
        rows[edge][COLUMN], rows[edge][4] = skip, second
    kept = skip_edges(SPACE, derive_darts(SPACE, table_of(rows)))
    assert kept == [0, 1, 2, 3]
    # Edge 3 is struck (0.6): edge 4 takes its place with 0.5. Struck too: edge 4's own
    # second operation (0.4) is the best that is left, before edge 3's (0.3).
    genotype = restrict_skips(SPACE, table_of(rows), 3)
    assert skip_edges(SPACE, genotype) == [0, 1, 2]
    assert [(e.op, e.source) for e in genotype.cells["normal"].nodes[1]] == [
        (SKIP, 0), ("sep_conv_3x3", 2),
    ]  # fmt: skip
    assert skip_edges(SPACE, restrict_skips(SPACE, table_of(rows), 2)) == [0, 1]
    assert skip_edges(SPACE, restrict_skips(SPACE, table_of(rows), 1)) == [0]
    assert skip_edges(SPACE, restrict_skips(SPACE, table_of(rows), 0)) == []


def test_restriction_in_nasbench201() -> None:
    space = nasbench201_space()
    column = space.operations.index(SKIP)
    rows = [[0.1, 0.6 - edge / 100, 0.2, 0.05, 0.05] for edge in range(6)]
    assert rows[0][column] == 0.6
    for most in range(7):
        genotype = restrict_skips(space, {"normal": rows}, most)
        assert skip_edges(space, genotype) == list(range(most))
        ops = {e.op for node in genotype.cells["normal"].nodes for e in node} - {SKIP}
        assert ops <= {"nor_conv_1x1"}


def test_default_is_two_skips() -> None:
    search = searches.search(PDarts, epochs=3, method={})
    for alpha in search.alpha.values():
        alpha.data[:, COLUMN] = 5.0
    assert len(skip_edges(SPACE, derive_darts(SPACE, search.scores()))) == 4
    assert len(skip_edges(SPACE, search.derive())) == 2


def test_a_space_without_skip_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'p-darts'.*'s4' has none"):
        searches.search(PDarts, named_space("s4", 2))
    bare = darts_space(2, (ZERO, SKIP), name="bare")
    with pytest.raises(UserError, match=r"'p-darts'.*'bare' has none"):
        searches.search(PDarts, bare)


def test_fewer_epochs_than_stages_still_search() -> None:
    search = searches.search(PDarts, epochs=2)
    for epoch in (0, 1):
        search.begin_epoch(epoch)
        assert search.trains_architecture(epoch)
    assert counts(search) == {5}
