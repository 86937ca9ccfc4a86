"""Tables of what the operations of a supernet cost, against counts by hand."""

from __future__ import annotations

import pytest
import torch

from dots.nas.random_cell import random_genotype
from dots.nas.strategies.shared.expected_operations import expected_network, resource_costs
from dots.networks.body import Shape
from dots.networks.count import memory_access, network_cost
from dots.space.discretise import build_genotype
from dots.space.search_space import SearchSpace, darts_space, nasbench201_space

CPU = torch.device("cpu")
SHAPE = Shape(cells=3, channels=4, image_channels=3, classes=5)


def test_parameters_by_hand() -> None:
    """Three cells: one normal of 4 channels, two reductions of 8 and 16."""
    space = darts_space(1, ("none", "skip_connect", "dil_conv_3x3"))
    table, _ = resource_costs(space, SHAPE, 8, "parameters", CPU)

    def dilated(c: int) -> int:
        return 9 * c + c * c + 2 * c  # depthwise, pointwise, batch norm

    def halving(c: int) -> int:
        return c * c + 2 * c  # two 1×1 convolutions of half the channels, batch norm

    assert table["normal"].tolist() == [[0, 0, dilated(4)]] * 2
    assert table["reduce"].tolist() == [[0, halving(8) + halving(16), dilated(8) + dilated(16)]] * 2


def test_multiply_adds_follow_resolution_and_stride() -> None:
    space = darts_space(2, ("none", "skip_connect", "dil_conv_3x3"))
    table, _ = resource_costs(space, SHAPE, 9, "multiply-adds", CPU)

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
    table, _ = resource_costs(space, shape, size, "multiply-adds", CPU)
    light, heavy = ("skip_connect", space.operations[-2])
    costs, sums = [], []
    for op in (light, heavy):
        column = space.operations.index(op)
        edges = range(len(space.cell.edges))
        genotype = build_genotype(
            space, {kind: dict.fromkeys(edges, (op,)) for kind in space.kinds}
        )
        costs.append(network_cost(genotype, shape, size).multiply_adds)
        sums.append(sum(float(rows[:, column].sum()) for rows in table.values()))
    assert costs[1] - costs[0] == pytest.approx(sums[1] - sums[0])
    assert sums[1] > sums[0]


def test_measuring_latency_draws_nothing_and_is_in_microseconds() -> None:
    space = darts_space(1, ("none", "skip_connect", "sep_conv_5x5"))
    random_state = torch.get_rng_state()
    table, _ = resource_costs(space, SHAPE, 8, "latency", CPU)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(1 < float(rows[0, 2]) < 1e6 for rows in table.values())
    assert all((rows[:, 2] > rows[:, 0]).all() for rows in table.values())


@pytest.mark.parametrize("space", [darts_space(2), nasbench201_space()])
def test_the_expected_network_is_the_mean_of_derived_ones(space: SearchSpace) -> None:
    """With stem, preprocessing and classifier, and the edges that a node keeps."""
    shape = Shape(cells=3, channels=4, image_channels=3, classes=5)
    costs, rest = resource_costs(space, shape, 16, "multiply-adds", CPU)
    columns = len(space.operations)
    uniform = {k: torch.full((len(space.cell.edges), columns), 1 / columns) for k in space.kinds}
    expected = float(expected_network(space, costs, rest, uniform))
    edges = "any" if space.policy_edges is None else "pairs"
    drawn = torch.tensor(
        [
            float(network_cost(random_genotype(space, edges, seed), shape, 16).multiply_adds)
            for seed in range(40)
        ]
    )
    assert abs(expected - drawn.mean()) < 3 * drawn.std() / 40**0.5


def test_the_published_size_of_the_reference() -> None:
    """8 cells, 16 channels, CIFAR-10: all 14 edges alone would be 35.0 M."""
    space, shape = darts_space(), Shape(8, 16, 3, 10)
    costs, rest = resource_costs(space, shape, 32, "multiply-adds", CPU)
    uniform = {kind: torch.full((14, 8), 1 / 8) for kind in space.kinds}
    assert sum(float((uniform[k] * costs[k]).sum()) for k in costs) / 1e6 == pytest.approx(
        34.97, abs=0.01
    )
    assert float(expected_network(space, costs, rest, uniform)) / 1e6 == pytest.approx(
        43.35, abs=0.01
    )


def test_memory_access_by_hand() -> None:
    """4 channels of 8×8 pixels: inputs, outputs and weights of each layer."""
    maps, quarter = 4 * 8 * 8, 4 * 4 * 4
    assert memory_access("skip_connect", 4, 1, 8) == 2 * maps
    assert memory_access("max_pool_3x3", 4, 1, 8) == 2 * maps
    assert memory_access("avg_pool_3x3", 4, 2, 8) == maps + quarter
    assert memory_access("dil_conv_3x3", 4, 1, 8) == 4 * maps + 4 * 9 + 4 * 4
    assert memory_access("sep_conv_3x3", 4, 2, 8) == maps + 7 * quarter + 2 * (4 * 9 + 4 * 4)
