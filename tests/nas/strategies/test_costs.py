"""Tables of what the operations of a supernet cost, against counts by hand."""

from __future__ import annotations

import pytest
import torch

from dots.nas.strategies.shared.expected_operations import edge_costs, expected_cost
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.networks.supernet import Supernet
from dots.space.discretise import build_genotype
from dots.space.search_space import SearchSpace, darts_space, nasbench201_space

CPU = torch.device("cpu")
SHAPE = Shape(cells=3, channels=4, image_channels=3, classes=5)


def test_parameters_by_hand() -> None:
    """Three cells: one normal of 4 channels, two reductions of 8 and 16."""
    space = darts_space(1, ("none", "skip_connect", "dil_conv_3x3"))
    table = edge_costs(Supernet(space, SHAPE), 8, "parameters", CPU)

    def dilated(c: int) -> int:
        return 9 * c + c * c + 2 * c  # depthwise, pointwise, batch norm

    def halving(c: int) -> int:
        return c * c + 2 * c  # two 1×1 convolutions of half the channels, batch norm

    assert table["normal"].tolist() == [[0, 0, dilated(4)]] * 2
    assert table["reduce"].tolist() == [[0, halving(8) + halving(16), dilated(8) + dilated(16)]] * 2


def test_multiply_adds_follow_resolution_and_stride() -> None:
    space = darts_space(2, ("none", "skip_connect", "dil_conv_3x3"))
    table = edge_costs(Supernet(space, SHAPE), 9, "multiply-adds", CPU)

    def dilated(c: int, size: int) -> int:
        return (9 * c + c * c) * size * size

    assert table["normal"][:, 2].tolist() == [dilated(4, 9)] * 5
    from_input, inside = dilated(8, 5) + dilated(16, 3), dilated(8, 5) + dilated(16, 3)
    assert table["reduce"][:, 2].tolist() == [from_input] * 4 + [inside]
    assert table["reduce"][4, 1] == 0  # between nodes a skip is free, also in a reduction
    assert table["reduce"][0, 1] > 0


@pytest.mark.parametrize(
    ("space", "shape", "size"),
    [
        (darts_space(2), SHAPE, 16),
        (darts_space(2), Shape(3, 4, 3, 5, stem="imagenet"), 64),
        (nasbench201_space(), SHAPE, 16),
    ],
)
def test_the_difference_between_two_cells_is_that_of_their_networks(
    space: SearchSpace, shape: Shape, size: int
) -> None:
    """In the search's skeleton a derived network differs from another by its operations only.

    Not with the stem for ImageNet, whose derived network is narrower before the first cells;
    the operations themselves are the same.
    """
    table = edge_costs(Supernet(space, shape), size, "multiply-adds", CPU)
    light, heavy = ("skip_connect", space.operations[-2])
    costs, sums = [], []
    for op in (light, heavy):
        column = space.operations.index(op)
        edges = range(len(space.cell.edges))
        genotype = build_genotype(
            space, {kind: dict.fromkeys(edges, (op,)) for kind in space.kinds}
        )
        costs.append(network_cost(genotype, shape, size).multiply_adds)
        weights = {kind: torch.zeros(len(edges), len(space.operations)) for kind in space.kinds}
        for rows in weights.values():
            rows[:, column] = 1.0
        sums.append(float(expected_cost(table, weights)))
    assert costs[1] - costs[0] == pytest.approx(sums[1] - sums[0])
    assert sums[1] > sums[0]


def test_measuring_latency_draws_nothing_and_is_in_microseconds() -> None:
    space = darts_space(1, ("none", "skip_connect", "sep_conv_5x5"))
    random_state = torch.get_rng_state()
    table = edge_costs(Supernet(space, SHAPE), 8, "latency", CPU)
    supernet_draws = torch.get_rng_state()
    torch.set_rng_state(random_state)
    Supernet(space, SHAPE)
    assert torch.equal(torch.get_rng_state(), supernet_draws)
    assert all(1 < float(rows[0, 2]) < 1e6 for rows in table.values())
    assert all((rows[:, 2] > rows[:, 0]).all() for rows in table.values())
