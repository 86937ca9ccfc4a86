"""Topologies by the loss of the supernet itself: what runs, what is best, what is noted."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
import torch

from dots.nas.supernet_rating import SupernetRating, Topology, as_edges, as_topology
from dots.networks.supernet import Mixture, Supernet
from dots.space.edge_combinations import combinations
from dots.space.search_space import SearchSpace, darts_space, nasbench201_space
from helpers import small
from helpers.stages import candidates_of, topology_settings

BENCHMARK = nasbench201_space()
NAMES = ("skip_connect", "nor_conv_3x3")


def rating(space: SearchSpace = BENCHMARK, names: tuple[str, ...] = NAMES, **changes: Any) -> Any:
    torch.manual_seed(0)
    net = Supernet(space, small.SHAPE, candidates_of(space, names), fast=False).double()
    operations = {kind: [names[-1]] * len(space.cell.edges) for kind in space.kinds}
    settings = topology_settings(**{"edges": "any", **changes})
    batches: Any = small.FewBatches(2)
    engine = small.engine(precision="64")
    return SupernetRating(space, net, operations, settings, engine, batches)


def test_one_topology_runs_its_edges_with_equal_shares_and_nothing_else() -> None:
    mixture = rating()._mixture("normal", ((0,), (1,), (0, 2)))
    assert mixture.edges.tolist() == [1, 0, 1, 0.5, 0, 0.5]
    assert mixture.operations.tolist() == [[0, 1]] * 6
    runs = [on for _, on in mixture.active]
    assert runs == [True, False, True, True, False, True]
    assert not any(on for on, _ in mixture.active)
    whole = rating(normalise=False)._mixture("normal", ((0,), (1,), (0, 2)))
    assert whole.edges.tolist() == [1, 0, 1, 1, 0, 1]
    sigmoid = rating(parameterisation="sigmoid")._mixture("normal", ((0,), (1,), (0, 2)))
    assert sigmoid.edges.tolist() == [1, 0, 1, 1, 0, 1]


def test_its_loss_is_the_cross_entropy_of_that_mixture_with_batch_statistics() -> None:
    rated = rating()
    state = {name: value.clone() for name, value in rated.supernet.state_dict().items()}
    found = rated.loss({"normal": ((0,), (0, 1), (1, 2))})
    assert all(torch.equal(state[n], v) for n, v in rated.supernet.state_dict().items())
    gamma = torch.tensor([1, 0.5, 0.5, 0, 0.5, 0.5], dtype=torch.float64)
    operations = torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(6, 1)
    losses = []
    for batch in rated.held_out.items:
        with torch.no_grad():
            logits = rated.supernet(batch.images.double(), {"normal": Mixture(operations, gamma)})
        losses.append(torch.nn.functional.cross_entropy(logits, batch.labels))
    assert found == pytest.approx(float(torch.stack(losses).mean()), rel=1e-6)


class Planted(SupernetRating):
    """Each kept combination of each kind and node has a loss of its own; they add up."""

    def prepare(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.costs = {
            (kind, node, kept): float(torch.rand((), generator=draw))
            for kind in self.space.kinds
            for node, choices in enumerate(self.choices)
            for kept in choices
        }
        self.asked = 0

    def loss(self, topologies: Mapping[str, Topology]) -> float:
        self.asked += 1
        return sum(
            self.costs[kind, node, kept]
            for kind, topology in topologies.items()
            for node, kept in enumerate(topology)
        )


def planted(space: SearchSpace, names: tuple[str, ...], seed: int = 0, **changes: Any) -> Planted:
    made = rating(space, names, **changes)
    made.__class__ = Planted
    made.prepare(seed)
    assert isinstance(made, Planted)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_few_and_of_many_is_the_planted_one(seed: int) -> None:
    few = planted(BENCHMARK, NAMES, seed)
    first = {"normal": ((0,), (0,), (0,))}
    every = [{"normal": topology} for topology in few.all()]
    assert len(every) == 21
    assert few.best(first) == min(every, key=few.loss)
    space = darts_space(nodes=4)
    many = planted(space, ("skip_connect", "sep_conv_3x3"), seed, edges="pairs")
    start = {kind: tuple(choices[0] for choices in many.choices) for kind in space.kinds}
    best = many.best(start)
    for kind, node in product(space.kinds, range(4)):
        cheapest = min(many.choices[node], key=lambda kept: many.costs[kind, node, kept])
        assert best[kind][node] == cheapest
    assert many.asked == 2 * (1 + 3 + 6 + 10)


def test_the_table_has_all_of_few_and_the_neighbours_of_the_kept_one_else() -> None:
    few = planted(BENCHMARK, NAMES)
    own = {"normal": ((0,), (1,), (0, 2))}
    table = few.table(own)["normal"]
    assert {topology for topology, _ in table} == set(few.all())
    assert all(loss == pytest.approx(few.loss({"normal": t})) for t, loss in table)
    space = darts_space(nodes=4)
    many = planted(space, ("skip_connect", "sep_conv_3x3"), edges="pairs")
    kept = {kind: tuple(choices[-1] for choices in many.choices) for kind in space.kinds}
    for kind, rated in many.table(kept).items():
        assert len(rated) == len(dict(rated)) == 1 + 2 + 5 + 9
        pairs = {t[3] for t, _ in rated if t[:3] == kept[kind][:3]}
        assert pairs == set(combinations(5, "pairs"))


def test_edges_and_topologies_are_two_ways_to_say_it() -> None:
    space = darts_space(nodes=3)
    edges = (0, 1, 2, 4, 5, 8)
    topology = as_topology(space, edges)
    assert topology == ((0, 1), (0, 2), (0, 3))
    assert as_edges(space, topology) == edges
