"""The sum over edges is the cost of the network, to the last parameter and multiply-add."""

from __future__ import annotations

import pytest

from dots.common.errors import UserError
from dots.nas.budget.cost_table import Place, counted_tables, free_genotype, places
from dots.nas.random_cell import random_genotype
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.space.search_space import FURTHER_OPERATIONS, SearchSpace, darts_space, named_space

CASES = [
    # space, shape, image size, edges
    (darts_space(), Shape(5, 8, 3, 10), 32, "pairs"),
    (darts_space(3), Shape(6, 6, 1, 4, head_norm=True), 27, "any"),
    (darts_space(2), Shape(1, 8, 3, 10), 8, 1),
    (darts_space(), Shape(4, 8, 3, 7, stem="imagenet"), 75, "any"),
    (darts_space(), Shape(4, 8, 3, 7, stem="strided"), 27, "any"),
    (darts_space(), Shape(4, 8, 3, 7, stem="pooled"), 27, "any"),
    (darts_space(2, ("none", *FURTHER_OPERATIONS)), Shape(5, 8, 2, 3), 17, "pairs"),
    (named_space("nasbench201"), Shape(6, 8, 3, 10), 21, "any"),
]


@pytest.mark.parametrize(("space", "shape", "size", "edges"), CASES)
def test_the_sum_over_edges_is_the_cost_of_the_network(
    space: SearchSpace, shape: Shape, size: int, edges: str | int
) -> None:
    parameters, multiply_adds = counted_tables(space, shape, size)
    for seed in range(2):
        genotype = random_genotype(space, edges, seed)  # type: ignore[arg-type]  # of CASES
        cost = network_cost(genotype, shape, size)
        assert parameters.total(genotype) == cost.parameters
        assert multiply_adds.total(genotype) == cost.multiply_adds


def test_places_by_hand() -> None:
    """Three cells: normal, reduction, reduction; an odd size is rounded up."""
    assert places(darts_space(), Shape(3, 8, 3, 10), 15) == {
        ("normal", True): (Place(8, 1, 15),),
        ("normal", False): (Place(8, 1, 15),),
        ("reduce", True): (Place(16, 2, 15), Place(32, 2, 8)),
        ("reduce", False): (Place(16, 1, 8), Place(32, 1, 4)),
    }
    stages = places(named_space("nasbench201"), Shape(3, 8, 3, 10), 15)
    assert stages["normal", True] == (Place(8, 1, 15), Place(16, 1, 8), Place(32, 1, 4))


def test_a_kind_without_cells_costs_nothing() -> None:
    space = darts_space()
    parameters, _ = counted_tables(space, Shape(1, 8, 3, 10), 8)
    assert parameters.edge("normal", "sep_conv_3x3", 0) == 0
    assert parameters.total(free_genotype(space)) == parameters.fixed


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(UserError, match="too small"):
        counted_tables(darts_space(), Shape(8, 8, 3, 10), 3)
