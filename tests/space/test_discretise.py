"""The DOTS derivation and the DARTS policy, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dots.nas.random_cell import random_genotype
from dots.space.discretise import derive_darts, derive_dots, derive_top_edges
from dots.space.edge_combinations import EdgeChoice, combinations
from dots.space.genotype import Edge
from dots.space.search_space import darts_space, named_space, nasbench201_space

DARTS = darts_space(nodes=2)  # edges 02 12 03 13 23


def _table(rows: list[dict[str, float]]) -> dict[str, list[list[float]]]:
    table = [[row.get(op, 0.0) for op in DARTS.operations] for row in rows]
    return dict.fromkeys(DARTS.kinds, table)


ROWS = [
    {"none": 0.9, "skip_connect": 0.05},
    {"sep_conv_3x3": 0.5},
    {"none": 0.1, "dil_conv_3x3": 0.3},
    {"max_pool_3x3": 0.2},
    {"sep_conv_5x5": 0.4},
]


def test_the_darts_policy_of_section_3() -> None:
    cell = derive_darts(DARTS, _table(ROWS)).cells["normal"]
    assert cell.nodes == (
        (Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)),
        (Edge("dil_conv_3x3", 0), Edge("sep_conv_5x5", 2)),
    )
    assert cell.concat == (2, 3)


def test_the_policy_of_nasbench201_keeps_every_edge_but_zero() -> None:
    space = nasbench201_space()
    rows = [[0.0, 0.0, 0.0, 1.0, 0.0]] * 6
    rows[1] = [1.0, 0.0, 0.0, 0.5, 0.0]
    cell = derive_darts(space, {"normal": rows}).cells["normal"]
    assert [len(node) for node in cell.nodes] == [1, 1, 3]
    assert cell.nodes[1] == (Edge("nor_conv_3x3", 1),)
    two = derive_top_edges(space, {"normal": rows}, 2).cells["normal"]
    assert [len(node) for node in two.nodes] == [1, 2, 2]


def test_dots_takes_the_heaviest_candidate_on_kept_edges() -> None:
    edges = (("skip_connect", "sep_conv_3x3"),) * 4 + (("none", "dil_conv_5x5"),)
    candidates = dict.fromkeys(DARTS.kinds, edges)
    weights = {
        kind: [[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.5, 0.5], [0.9, 0.1]] for kind in DARTS.kinds
    }
    kept = {"normal": (0, 1, 4), "reduce": (1, 2, 3)}
    genotype = derive_dots(DARTS, candidates, weights, kept)
    assert genotype.cells["normal"].nodes == (
        (Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)),
        (Edge("dil_conv_5x5", 2),),  # Zero weighs more, and is never emitted
    )
    assert genotype.cells["reduce"].nodes == (
        (Edge("sep_conv_3x3", 1),),
        (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),
    )


@given(
    st.sampled_from(["darts", "nasbench201", "s2", "s3", "s4"]),
    st.sampled_from(["pairs", "any", 1, 3]),
    st.integers(0, 10_000),
)
def test_random_cells_are_cells_of_the_space(name: str, edges: EdgeChoice, seed: int) -> None:
    space = named_space(name)
    genotype = random_genotype(space, edges, seed)
    assert genotype == random_genotype(space, edges, seed)
    for cell in genotype.cells.values():
        assert cell.concat == space.cell.concat
        for incoming, node in zip(space.cell.incoming, cell.nodes, strict=True):
            table = combinations(len(incoming), edges)
            assert tuple(edge.source for edge in node) in table
            assert all(edge.op in space.operations and edge.op != "none" for edge in node)


def test_random_cells_differ_between_seeds_and_use_everything() -> None:
    space = darts_space()
    cells = {random_genotype(space, "pairs", seed) for seed in range(50)}
    assert len(cells) == 50
    seen = {e.op for g in cells for c in g.cells.values() for node in c.nodes for e in node}
    assert seen == set(space.operations) - {"none"}


def test_random_choices_are_uniform() -> None:
    """Of the last node's ten pairs each comes up in a tenth of the cells, within 5 sigma."""
    space = darts_space()
    counts = dict.fromkeys(combinations(5, "pairs"), 0)
    for seed in range(1000):
        node = random_genotype(space, "pairs", seed).cells["normal"].nodes[-1]
        counts[tuple(edge.source for edge in node)] += 1
    assert all(count == pytest.approx(100, abs=5 * 9.5) for count in counts.values())
