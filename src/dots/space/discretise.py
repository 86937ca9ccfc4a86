"""From architecture weights to a genotype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dots.space.genotype import Cell, Edge, Genotype
from dots.space.retain import Scores
from dots.space.search_space import ZERO, Candidates, SearchSpace

ChosenEdges = Mapping[int, Sequence[str]]
"""For the indices of kept edges the operations on them."""


def build_genotype(space: SearchSpace, chosen: Mapping[str, ChosenEdges]) -> Genotype:
    """The genotype that has, for each cell kind, the chosen operations on the kept edges."""
    cells = {}
    for kind in space.kinds:
        nodes = tuple(
            tuple(
                Edge(op, space.cell.edges[index][0])
                for index in incoming
                for op in chosen[kind].get(index, ())
            )
            for incoming in space.cell.incoming
        )
        cells[kind] = Cell(nodes, space.cell.concat)
    return Genotype(cells, space.name, space)


def derive_dots(
    space: SearchSpace,
    candidates: Candidates,
    operation_weights: Scores,
    kept_edges: Mapping[str, Sequence[int]],
) -> Genotype:
    """The DOTS cell: the kept edges, on each the heaviest of the candidates it retained.

    `operation_weights` has for each cell kind and edge a weight for each of its candidates.
    Zero is never emitted: the best other candidate takes its place.
    """
    best = best_operations(space, candidates, operation_weights)
    chosen = {
        kind: {index: (best[kind][index],) for index in kept_edges[kind]} for kind in space.kinds
    }
    return build_genotype(space, chosen)


def best_operations(
    space: SearchSpace, candidates: Candidates, operation_weights: Scores
) -> dict[str, tuple[str, ...]]:
    """For each cell kind and edge the heaviest of its candidates other than Zero."""
    return {
        kind: tuple(map(_heaviest, candidates[kind], operation_weights[kind]))
        for kind in space.kinds
    }


def _heaviest(names: Sequence[str], weights: Sequence[float]) -> str:
    real = [
        (weight, -place, name)
        for place, (name, weight) in enumerate(zip(names, weights, strict=False))
        if name != ZERO
    ]
    return max(real)[2]


def derive_darts(space: SearchSpace, scores: Scores) -> Genotype:
    """The cell without topology search, by the policy of the space.

    The DARTS policy (Sec. 3.1): the best operation other than Zero on every edge, and for
    each node the two edges whose best operation weighs most. NAS-Bench-201's: the best
    operation on every edge, Zero meaning no edge.
    """
    if space.policy_edges is None:
        return derive_all_edges(space, scores)
    return derive_top_edges(space, scores, space.policy_edges)


def derive_top_edges(space: SearchSpace, scores: Scores, keep: int) -> Genotype:
    """The best operation other than Zero on the `keep` best edges of each node."""
    chosen: dict[str, dict[int, tuple[str]]] = {}
    for kind in space.kinds:
        best = [_best_real(space, row) for row in scores[kind]]
        heaviest_first = sorted(range(len(best)), key=[-weight for weight, _ in best].__getitem__)
        chosen[kind] = {
            index: (best[index][1],)
            for incoming in space.cell.incoming
            for index in [edge for edge in heaviest_first if edge in incoming][:keep]
        }
    return build_genotype(space, chosen)


def _best_real(space: SearchSpace, row: Sequence[float]) -> tuple[float, str]:
    pairs = [(w, op) for op, w in zip(space.operations, row, strict=True) if op != ZERO]
    return max(pairs, key=lambda pair: pair[0])


def derive_all_edges(space: SearchSpace, scores: Scores) -> Genotype:
    """The best operation on every edge; an edge whose best is Zero is absent."""
    chosen: dict[str, dict[int, tuple[str, ...]]] = {}
    for kind in space.kinds:
        rows = enumerate(scores[kind])
        best = {
            index: max(zip(row, space.operations, strict=True), key=lambda p: p[0])[1]
            for index, row in rows
        }
        chosen[kind] = {index: (op,) for index, op in best.items() if op != ZERO}
    return build_genotype(space, chosen)


def revive(genotype: Genotype, space: SearchSpace, scores: Scores) -> Genotype:
    """`genotype` with one more edge in each cell whose output depends on no input.

    Such a cell cannot be built. Of the edges from an input to a node of the output it gets
    the one whose best operation other than Zero scores most.
    """
    cells = dict(genotype.cells)
    for kind, cell in cells.items():
        if cell.connected(space.cell.inputs):
            continue
        useful = [
            (*_best_real(space, scores[kind][index]), source, target)
            for index, (source, target) in enumerate(space.cell.edges)
            if source < space.cell.inputs and target in cell.concat
        ]
        _, op, source, target = max(useful, key=lambda edge: edge[0])
        nodes = list(cell.nodes)
        position = target - space.cell.inputs
        nodes[position] = (*nodes[position], Edge(op, source))
        cells[kind] = replace(cell, nodes=tuple(nodes))
    return Genotype(cells, genotype.space, genotype.search_space)


def with_zero_nodes(genotype: Genotype) -> Genotype:
    """`genotype` with Zero on every edge of the nodes that have none: they are there, and zero."""
    cells = {}
    for kind, cell in genotype.cells.items():
        nodes = enumerate(cell.nodes, start=genotype.inputs)
        filled = (
            edges or tuple(Edge(ZERO, source) for source in range(target))
            for target, edges in nodes
        )
        cells[kind] = replace(cell, nodes=tuple(filled))
    return Genotype(cells, genotype.space, genotype.search_space)
