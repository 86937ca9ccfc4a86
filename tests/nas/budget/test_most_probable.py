"""Cells within limits, against trying every cell of small spaces."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.nas.budget.cost_table import CostTable, counted_tables
from dots.nas.budget.distribution import (
    ArchitectureDistribution,
    architecture_distribution,
    recorded_distribution,
)
from dots.nas.budget.most_probable import Limits, derive_within, least_cost, pareto_cells, top_cells
from dots.nas.topology import make_topology
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.space.discretise import build_genotype, derive_dots
from dots.space.edge_combinations import EdgeChoice, combinations
from dots.space.search_space import ZERO, Candidates, SearchSpace, darts_space

SPACE = darts_space(2)
SHAPE = Shape(4, 8, 3, 10)
TABLES = counted_tables(SPACE, SHAPE, 16)

Raw = dict[str, list[list[float]]]


def random_search(
    seed: int, space: SearchSpace, count: int, edges: EdgeChoice, *, zero: bool = False
) -> tuple[Candidates, Raw, Raw]:
    """Candidates and raw parameters as a search could end with."""
    rng = random.Random(seed)
    real = [op for op in space.operations if op != ZERO]
    names = {
        kind: tuple(
            (*rng.sample(real, count), *((ZERO,) if zero else ())) for _ in space.cell.edges
        )
        for kind in space.kinds
    }
    beta = {
        kind: [
            [rng.gauss(0, 1) for _ in combinations(len(incoming), edges)]
            for incoming in space.cell.incoming
        ]
        for kind in space.kinds
    }
    alpha = {
        kind: [[rng.gauss(0, 1) for _ in range(count + zero)] for _ in space.cell.edges]
        for kind in space.kinds
    }
    return names, beta, alpha


Chosen = dict[str, dict[int, tuple[str]]]
Tried = tuple[float, tuple[float, ...], Chosen]
"""A cell's log probability, its costs, and its edges."""


def score_of(distribution: ArchitectureDistribution, kind: str, chosen: dict[int, str]) -> float:
    """The log probability of one kind's cell, straight from the definition."""
    total = 0.0
    for node, incoming in enumerate(distribution.space.cell.incoming):
        kept = tuple(place for place, edge in enumerate(incoming) if edge in chosen)
        total += dict(distribution.combinations[kind][node])[kept]
        for edge in incoming:
            table = dict(distribution.operations[kind][edge])
            total += table[chosen[edge]] if edge in chosen else max(table.values())
    return total


def every_cell(distribution: ArchitectureDistribution) -> list[Tried]:
    """All cells, most probable first."""
    space = distribution.space
    by_kind = []
    for kind in space.kinds:
        cells = []
        for picked in product(
            *(distribution.combinations[kind][n] for n in range(space.cell.nodes))
        ):
            kept = [
                incoming[place]
                for incoming, (combination, _) in zip(space.cell.incoming, picked, strict=True)
                for place in combination
            ]
            for ops in product(*([op for op, _ in distribution.operations[kind][e]] for e in kept)):
                chosen = dict(zip(kept, ops, strict=True))
                edges = [(op, space.cell.edges[e][0]) for e, op in chosen.items()]
                costs = [sum(t.edge(kind, op, source) for op, source in edges) for t in TABLES]
                cells.append((score_of(distribution, kind, chosen), costs, chosen))
        by_kind.append(cells)
    fixed = [table.fixed for table in TABLES]
    tried = []
    for parts in product(*by_kind):
        costs = tuple(map(sum, zip(fixed, *(cost for _, cost, _ in parts), strict=True)))
        cells = {
            kind: {edge: (op,) for edge, op in chosen.items()}
            for kind, (_, _, chosen) in zip(space.kinds, parts, strict=True)
        }
        tried.append((sum(score for score, _, _ in parts), costs, cells))
    return sorted(tried, key=lambda cell: -cell[0])


def within(cells: Sequence[Tried], limits: Limits) -> list[Tried]:
    bounds = [limits.get(table.metric, math.inf) for table in TABLES]
    return [cell for cell in cells if all(c <= b for c, b in zip(cell[1], bounds, strict=True))]


@pytest.mark.parametrize("limited", [("parameters",), ("parameters", "multiply_adds")])
@pytest.mark.parametrize(("count", "edges"), [(2, "pairs"), (2, "any"), (3, 1)])
def test_the_best_cells_are_those_of_trying_all(
    count: int, edges: EdgeChoice, limited: tuple[str, ...]
) -> None:
    distribution = architecture_distribution(
        SPACE, *random_search(count, SPACE, count, edges), edges=edges
    )
    cells = every_cell(distribution)
    for share in (0.02, 0.3, 0.7):
        limits: Limits = {
            table.metric: sorted(costs[place] for _, costs, _ in cells)[int(share * len(cells))]
            for place, table in enumerate(TABLES)
            if table.metric in limited
        }
        inside = within(cells, limits)
        found = top_cells(distribution, TABLES, 12, limits)
        assert len(found) == min(12, len(inside))
        assert len({cell.genotype for cell in found}) == len(found)
        for cell, (score, _, _) in zip(found, inside, strict=False):
            assert math.isclose(cell.log_probability, score, abs_tol=1e-9)
            assert all(cell.costs[metric] <= limit for metric, limit in limits.items())
        assert found[0].genotype == build_genotype(SPACE, inside[0][2])
        assert tuple(found[0].costs.values()) == inside[0][1]
        cost = network_cost(found[0].genotype, SHAPE, 16)
        assert found[0].costs == {
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
        }


def test_limits_that_only_hold_apart_are_refused() -> None:
    """A space where few parameters mean many multiply-adds."""
    distribution = architecture_distribution(SPACE, *random_search(2, SPACE, 2, "pairs"))
    cells = every_cell(distribution)
    cheap = min(costs[0] for _, costs, _ in cells)
    flat = CostTable("multiply_adds", 2, 0.0, {k: -v for k, v in TABLES[0].edges.items()})
    least = least_cost(distribution, flat)
    with pytest.raises(UserError, match="at once, though within each of them alone"):
        derive_within(
            distribution, [TABLES[0], flat], {"parameters": cheap, "multiply_adds": least}
        )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(["pairs", "any", 1]), st.booleans())
def test_without_limits_it_is_the_cell_that_dots_derives(
    seed: int, edges: EdgeChoice, zero: bool
) -> None:
    candidates, beta, alpha = random_search(seed, SPACE, 2, edges, zero=zero)
    distribution = architecture_distribution(SPACE, candidates, beta, alpha, edges=edges)
    kept = {}
    for kind in SPACE.kinds:
        kept[kind] = [
            incoming[position]
            for incoming, row in zip(SPACE.cell.incoming, beta[kind], strict=True)
            for position in combinations(len(incoming), edges)[row.index(max(row))]
        ]
    (best,) = top_cells(distribution, TABLES, 1)
    assert best.genotype == derive_dots(SPACE, candidates, alpha, kept)
    assert derive_within(distribution, TABLES, {"parameters": 10**9}).genotype == best.genotype


@pytest.mark.parametrize("parameterisation", ["edges", "sigmoid"])
def test_the_ablations_choose_as_the_search_does(parameterisation: str) -> None:
    candidates, _, alpha = random_search(0, SPACE, 2, "pairs")
    for seed in range(5):
        torch.manual_seed(seed)
        topology = make_topology(
            SPACE, parameterisation=parameterisation, edges=2, normalise=True, threshold=0.6
        )
        for parameter in topology.parameters():
            parameter.data.normal_(0.0, 0.1)
        beta = {kind: [b.tolist() for _, b in topology.nodes(kind)] for kind in SPACE.kinds}
        distribution = architecture_distribution(
            SPACE,
            candidates,
            beta,
            alpha,
            parameterisation=parameterisation,
            edges=2,
            threshold=0.6,
            temperature=0.02,
        )
        for kind in SPACE.kinds:
            for scored in distribution.combinations[kind]:
                assert math.isclose(sum(math.exp(p) for _, p in scored), 1)
        (best,) = top_cells(distribution, TABLES, 1)
        expected = derive_dots(SPACE, candidates, alpha, topology.kept_edges(0.02))
        assert best.genotype == expected


def test_all_probabilities_sum_to_one() -> None:
    """Over topologies and operations of all edges; here one operation an edge is left."""
    distribution = architecture_distribution(
        SPACE, *random_search(1, SPACE, 1, "any", zero=True), edges="any"
    )
    cells = top_cells(distribution, TABLES, 10**4)
    assert len(cells) == (3 * 7) ** 2
    assert math.isclose(sum(math.exp(cell.log_probability) for cell in cells), 1)


def test_an_undecided_search_is_answered_at_once() -> None:
    """Every cell is equally probable: the search must not visit them all."""
    space = darts_space(4)
    candidates, beta, alpha = random_search(3, space, 4, "pairs")
    zeros = [
        {kind: [[0.0] * len(row) for row in rows] for kind, rows in raw.items()}
        for raw in (beta, alpha)
    ]
    distribution = architecture_distribution(space, candidates, *zeros)
    tables = counted_tables(space, SHAPE, 16)
    least = least_cost(distribution, tables[0])
    found = top_cells(distribution, tables, 10, {"parameters": least + 3000})
    assert len(found) == 10
    assert all(cell.costs["parameters"] <= least + 3000 for cell in found)


def test_the_least_is_reachable_and_less_is_refused() -> None:
    distribution = architecture_distribution(SPACE, *random_search(5, SPACE, 2, "pairs"))
    least = least_cost(distribution, TABLES[0])
    assert derive_within(distribution, TABLES, {"parameters": least}).costs["parameters"] == least
    with pytest.raises(UserError, match=rf"the least is {least:,.0f} \(--max-params\)"):
        derive_within(distribution, TABLES, {"parameters": least - 1})


def test_the_front_rises_in_cost_with_probability_and_nothing_beats_it() -> None:
    distribution = architecture_distribution(SPACE, *random_search(7, SPACE, 2, "pairs"))
    front = pareto_cells(distribution, TABLES, "multiply_adds")
    points = [(cell.log_probability, cell.costs["multiply_adds"]) for cell in front]
    assert points == sorted(points, reverse=True)
    assert points[-1][1] == least_cost(distribution, TABLES[1])
    for score, costs, _ in every_cell(distribution):
        assert any(p >= score - 1e-9 and c <= costs[1] for p, c in points)


def test_beliefs_are_read_from_the_record_of_a_search() -> None:
    candidates, beta, alpha = random_search(9, SPACE, 2, "any")
    record = {"parameterisation": "combinations", "edges": "any", "beta": beta, "alpha": alpha}
    assert recorded_distribution(SPACE, candidates, record) == architecture_distribution(
        SPACE, candidates, beta, alpha, edges="any"
    )
    with pytest.raises(UserError, match="no 'alpha'"):
        recorded_distribution(SPACE, candidates, {"beta": beta})
