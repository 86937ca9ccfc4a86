"""A uniformly random cell of a search space: the baseline that every search must beat."""

from __future__ import annotations

import torch

from dots.common.seeding import seed_for
from dots.space.discretise import build_genotype
from dots.space.edge_combinations import EdgeChoice, combinations
from dots.space.genotype import Genotype
from dots.space.search_space import ZERO, SearchSpace


def random_genotype(
    space: SearchSpace, edges: EdgeChoice, seed: int, draw_number: int = 0
) -> Genotype:
    """For each node a combination of edges and on each of them an operation, all equally likely.

    Zero is not among the operations: an edge that a node keeps carries something. The same
    seed and number of the draw give the same cell.
    """
    parts = (seed, "random-cell", draw_number) if draw_number else (seed, "random-cell")
    generator = torch.Generator().manual_seed(seed_for(*parts))

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    real = [op for op in space.operations if op != ZERO]
    chosen: dict[str, dict[int, tuple[str, ...]]] = {}
    for kind in space.kinds:
        chosen[kind] = {}
        for incoming in space.cell.incoming:
            table = combinations(len(incoming), edges)
            for position in table[draw(len(table))]:
                chosen[kind][incoming[position]] = (real[draw(len(real))],)
    return build_genotype(space, chosen)
