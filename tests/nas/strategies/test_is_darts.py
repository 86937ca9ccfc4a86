"""IS-DARTS: the information of outputs, its sign, and how the candidates shrink."""

from __future__ import annotations

import math

import pytest
import torch

from dots.nas.strategies.is_darts import InformationEdge, IsDarts, information
from dots.networks.operations.source import complete
from dots.space.search_space import ZERO, nasbench201_space
from helpers import contracts, searches, small

BENCHMARK = nasbench201_space()


def test_information_by_hand() -> None:
    """Channels 1 and 3 at one pixel: mean 2, variance 2 (unbiased), so 3 · 1 / 8 each."""
    y = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    assert information(y).tolist() == pytest.approx([3 / 8])
    two = torch.cat([y, 10 * y])  # ten times the spread: 100 / 1e6 of it
    assert information(two).tolist() == pytest.approx([3 / 8, 3 / 8 / 1e4])


def test_a_constant_output_says_nothing_and_that_is_the_largest() -> None:
    assert information(torch.zeros(2, 3, 4, 4)).tolist() == [math.inf, math.inf]
    assert float(information(torch.randn(1, 3, 4, 4))) < math.inf


def test_measuring_adds_the_information_of_every_candidate_s_output_over_cells() -> None:
    search = searches.search(IsDarts, BENCHMARK, precision="64", fast=False)
    batch = small.batch(seed=2)
    found: dict[int, float] = {}
    state = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    column = BENCHMARK.operations.index("nor_conv_3x3")
    edges = [m for m in search.supernet.modules() if isinstance(m, InformationEdge)]
    handles = [
        edge.operations[column].register_forward_hook(
            lambda module, args, out, place=edge.index: found.update(
                {place: found.get(place, 0.0) + float(information(complete(out, fast=False)).sum())}
            )
        )
        for edge in edges
    ]
    search.measure(batch)
    for handle in handles:
        handle.remove()
    totals = search.totals["normal"]
    assert len(found) == len(totals) == 6
    for place, value in found.items():
        assert float(totals[place, column]) == pytest.approx(value, rel=1e-5)
    assert bool(totals[:, BENCHMARK.operations.index(ZERO)].isinf().all())
    assert contracts.same(state, search.supernet.state_dict()), "no weight, no statistic moves"
    before = totals.clone()
    search.measure(batch)
    torch.testing.assert_close(search.totals["normal"], 2 * before)


def test_the_schedule_is_the_published_one_in_proportion() -> None:
    assert searches.search(IsDarts, BENCHMARK, epochs=30).ends() == [22, 24, 26, 28]
    assert searches.search(IsDarts, epochs=30).ends() == [10, 13, 16, 19, 22, 25, 28]
    assert searches.search(IsDarts, BENCHMARK, epochs=15).ends() == [10, 11, 12, 13]
    assert searches.search(IsDarts, BENCHMARK, epochs=1).ends() == [0, 0, 0, 0]
    own = searches.search(IsDarts, epochs=30, method={"steps": 2, "interval": 5.0})
    assert own.ends() == [23, 28]


def test_the_benchmark_loses_the_largest_of_every_edge_one_at_a_time() -> None:
    """A planted order: column 3 has the least, then 1, 4, 2; Zero is infinite."""
    search = searches.search(IsDarts, BENCHMARK, epochs=30)
    planted = torch.tensor([math.inf, 2.0, 8.0, 1.0, 4.0], dtype=torch.float64).repeat(6, 1)
    left = []
    for _ in range(4):
        search.shrink({"normal": planted})
        left.append(search.pruning.candidates["normal"][0])
    names = BENCHMARK.operations
    assert [len(each) for each in left] == [4, 3, 2, 1]
    assert left[0] == tuple(names[i] for i in (1, 2, 3, 4))
    assert left[1] == tuple(names[i] for i in (1, 3, 4))
    assert left[3] == (names[3],)
    order = sorted(range(5), key=lambda column: -search.scores()["normal"][0][column])
    assert order == [3, 1, 4, 2, 0]
    mixture = search.mixtures("evaluation")["normal"]
    assert mixture.operations[0].tolist() == [0, 0, 0, 1, 0]
    assert mixture.active is not None
    assert mixture.active[0] == (False, False, False, True, False)


def test_elsewhere_the_candidates_of_a_node_compete_and_an_edge_keeps_one() -> None:
    search = searches.search(IsDarts, epochs=30)
    order = torch.randperm(searches.EDGES * 8, generator=torch.Generator().manual_seed(1))
    planted = {
        kind: (1.0 + order).double().reshape(searches.EDGES, 8) for kind in ("normal", "reduce")
    }
    counts = []
    for _ in range(7):
        search.shrink(planted)
        edges = search.pruning.candidates["normal"]
        counts.append((sum(map(len, edges[:2])), sum(map(len, edges[2:]))))
    # 16 - 2 and 24 - 2 in seven parts of ceil(left / steps left)
    assert [first for first, _ in counts] == [14, 12, 10, 8, 6, 4, 2]
    assert [second for _, second in counts][:4] == [20, 17, 14, 11]
    assert counts[-1] == (2, 3)
    for edge in range(searches.EDGES):
        best = int(planted["normal"][edge].argmin())
        name = search.context.space.operations[best]
        assert search.pruning.candidates["normal"][edge] == (name,)
    kept = [edge.source for edge in search.derive().cells["normal"].nodes[1]]
    least = planted["normal"][2:].amin(1)
    assert kept == sorted(least.argsort()[:2].tolist())


def test_it_trains_on_all_images_without_alpha_and_measures_before_it_shrinks() -> None:
    search = searches.search(IsDarts, BENCHMARK, epochs=15)
    assert search.one_level
    assert not hasattr(search, "alpha")
    shares = search.mixtures("weights")["normal"].operations
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / 5))
    search.begin_epoch(0)
    search.step(0, small.batch(), None)
    assert not search.totals["normal"].any()
    assert search.end_epoch(0) == {"operations_left": 5.0}
    for epoch in range(10, 14):
        search.begin_epoch(epoch)
        search.step(epoch, small.batch(seed=epoch), None)
        assert search.totals["normal"].any()
        assert search.end_epoch(epoch) == {"operations_left": 14.0 - epoch}


def test_a_search_of_one_epoch_ends_with_one_operation() -> None:
    search = contracts.run(searches.search(IsDarts, BENCHMARK, epochs=1), steps=1)
    assert all(max(row) == 1 for row in search.mixing_weights()["normal"])
