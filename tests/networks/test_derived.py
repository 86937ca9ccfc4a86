"""Derived networks: shapes, odd cells, auxiliary head, drop path, published counts."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

import textbook
from dots import zoo
from dots.common.errors import UserError
from dots.networks.body import PlainStem, Shape, Stem, check_image_size, reductions, stem_for
from dots.networks.count import Cost, module_cost, network_cost, operation_cost
from dots.networks.derived import AuxiliaryHead, DerivedNetwork
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import darts_space
from helpers.shared_data import shared_data

DOTS = zoo.load("DOTS_C10").genotype


def _published(channels: int = 8, cells: int = 4) -> Shape:
    return Shape(cells, channels, 3, 5)


def test_published_counts_to_the_last_digit() -> None:
    cifar = network_cost(DOTS, Shape(20, 36, 3, 10), 32)
    assert cifar.parameters == 3_526_030
    gdas = network_cost(zoo.load("GDAS_V1").genotype, Shape(14, 50, 3, 1000, stem="imagenet"), 224)
    assert gdas == Cost(5_345_075, 581_009_000)


@pytest.mark.parametrize("name", ["DARTS_V2", "P_DARTS", "PC_DARTS_C10", "ASAP"])
def test_imagenet_parameters_as_printed(name: str) -> None:
    entries = json.loads(shared_data("genotypes.json").read_text())
    printed = next(e["printed"]["imagenet_params_M"] for e in entries if e["name"] == name)
    shape = Shape(14, 48, 3, 1000, stem="imagenet")
    counted = network_cost(zoo.load(name).genotype, shape, 224).parameters
    assert round(counted / 1e6, 1) == printed


def test_the_textbook_network_is_the_same() -> None:
    """Same parameters in the same order, same logits, same auxiliary logits."""
    torch.manual_seed(0)
    ours = DerivedNetwork(DOTS, Shape(5, 8, 3, 5), auxiliary=True, fast=False).double()
    naive = textbook.DerivedNetwork(DOTS, 8, 5, 5, auxiliary=True).double()
    theirs = {tuple(p.shape) for p in naive.parameters()}
    assert {tuple(p.shape) for p in ours.parameters()} == theirs
    with torch.no_grad():  # the head's place in the order differs, the rest agrees
        for a, b in zip(ours.body.parameters(), _without_head(naive), strict=True):
            b.copy_(a)
        for a, b in zip(ours.auxiliary.parameters(), naive.auxiliary.parameters(), strict=True):
            b.copy_(a)
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for a, b in zip(ours.forward_with_auxiliary(images), naive(images), strict=True):
        torch.testing.assert_close(a, b)


def _without_head(naive: textbook.DerivedNetwork) -> list[nn.Parameter]:
    return [p for name, p in naive.named_parameters() if not name.startswith("auxiliary.")]


@pytest.mark.parametrize("fast", [False, True])
def test_every_parameter_gets_a_gradient(fast: bool) -> None:
    network = DerivedNetwork(DOTS, _published(), auxiliary=True, fast=fast)
    logits, auxiliary = network.forward_with_auxiliary(torch.randn(4, 3, 16, 16))
    assert auxiliary is not None
    (logits.square().sum() + auxiliary.square().sum()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("fast", [False, True])
def test_float64_gradient_check_of_a_small_network(fast: bool) -> None:
    torch.manual_seed(0)
    network = DerivedNetwork(DOTS, Shape(2, 2, 1, 2), fast=fast).double()
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (images,), fast_mode=True)


def test_fast_and_plain_train_alike() -> None:
    results: list[list[Tensor]] = []
    for fast in (False, True):
        torch.manual_seed(0)
        network = DerivedNetwork(DOTS, _published(), fast=fast).double()
        optimiser = torch.optim.SGD(network.parameters(), 0.1)
        for seed in range(3):
            torch.manual_seed(seed)
            images = torch.randn(4, 3, 12, 12, dtype=torch.float64)
            loss = nn.functional.cross_entropy(network(images), torch.arange(4))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        results.append([loss.detach(), *network.state_dict().values()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def _genotype(nodes: list[list[Edge]], concat: tuple[int, ...]) -> Genotype:
    cell = Cell(tuple(map(tuple, nodes)), concat)
    return Genotype({"normal": cell, "reduce": cell})


SEP = "sep_conv_3x3"
ODD = {
    "a node without input": ([[Edge(SEP, 0)], [], [Edge(SEP, 2), Edge(SEP, 3)]], (2, 3, 4)),
    "parallel edges": ([[Edge(SEP, 0), Edge(SEP, 0), Edge("skip_connect", 1)]], (2,)),
    "an input in the output": ([[Edge(SEP, 1)]], (1, 2)),
    "many edges": ([[Edge(SEP, 0)] * 7], (2,)),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("fast", [False, True])
def test_unusual_cells_build_and_run(name: str, fast: bool) -> None:
    genotype = _genotype(*ODD[name])
    network = DerivedNetwork(genotype, _published(), fast=fast)
    logits = network(torch.randn(2, 3, 9, 11))
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()
    assert network_cost(genotype, _published(), 8).multiply_adds > 0


def test_a_cell_with_zero_on_edges_has_the_published_size() -> None:
    """SNAS' aggressive cell: nodes that are zero widen the next cell (printed: 2.3 M)."""
    entry = zoo.load("SNAS_aggressive")
    cost = network_cost(entry.genotype, Shape(20, 36, 3, 10), 32)
    assert round(cost.parameters / 1e6, 3) == 2.314
    assert entry.figure("cifar_params_M") == round(cost.parameters / 1e6, 1) == 2.3


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("size", [8, 9])
def test_a_node_with_zero_alone_is_zero_in_the_output(fast: bool, size: int) -> None:
    zero, skip = (Edge("none", 0),), (Edge("skip_connect", 0),)
    shape = Shape(3, 4, 3, 5)
    there = Genotype(dict.fromkeys(("normal", "reduce"), Cell((zero, skip, zero), (2, 3, 4))))
    gone = Genotype(dict.fromkeys(("normal", "reduce"), Cell(((), skip, ()), (2, 3, 4))))
    network = DerivedNetwork(there, shape, fast=fast).eval()
    features = network.features(torch.randn(2, 3, size, size))
    for maps, channels in zip(features, (4, 8, 16), strict=True):
        assert maps.shape[1] == 3 * channels
        assert not maps[:, :channels].any()
        assert bool(maps[:, channels : 2 * channels].any())
        assert not maps[:, 2 * channels :].any()
    narrow = DerivedNetwork(gone, shape, fast=fast).features(torch.randn(2, 3, size, size))
    assert [maps.shape[1] for maps in narrow] == [4, 8, 16]


def test_an_operation_on_a_node_that_is_zero_stays() -> None:
    """As in the published network: its batch norm's bias is learnt."""
    nodes = ((Edge("none", 0),), (Edge("sep_conv_3x3", 2), Edge("skip_connect", 0)))
    genotype = Genotype(dict.fromkeys(("normal", "reduce"), Cell(nodes, (2, 3))))
    network = DerivedNetwork(genotype, Shape(3, 4, 3, 5), fast=False)
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    own = [
        parameter
        for name, parameter in network.body.cells[0].named_parameters()
        if name.startswith("nodes.1.0.")
    ]
    assert own
    assert all(parameter.grad is not None for parameter in own)


def test_a_cell_that_reads_nothing_is_refused() -> None:
    genotype = _genotype([[], [Edge(SEP, 2)]], (2, 3))
    with pytest.raises(UserError, match="depends on no input"):
        DerivedNetwork(genotype, _published())
    with pytest.raises(UserError, match="depends on no input"):
        network_cost(genotype, _published(), 32)


def test_images_too_small_are_refused() -> None:
    with pytest.raises(UserError, match="images of 2 pixels are too small"):
        network_cost(DOTS, _published(), 2)
    with pytest.raises(UserError, match="imagenet stem need at least 32"):
        network_cost(DOTS, Shape(14, 8, 3, 5, stem="imagenet"), 16)


def test_the_strided_stem_is_the_other_at_every_second_pixel() -> None:
    images = torch.randn(2, 3, 9, 9)
    whole, strided = PlainStem(3, 4, 2).eval(), PlainStem(3, 4, 2, "strided").eval()
    strided.load_state_dict(whole.state_dict())
    torch.testing.assert_close(strided(images)[0], whole(images)[0][..., ::2, ::2])
    check_image_size(darts_space(), Shape(4, 8, 3, 5, stem="strided"), 8)
    with pytest.raises(UserError, match="strided stem need at least 8"):
        check_image_size(darts_space(), Shape(4, 8, 3, 5, stem="strided"), 7)


@pytest.mark.parametrize("side", [8, 9])
def test_the_pooled_stem_is_the_largest_of_four_pixels_before_the_norm(side: int) -> None:
    images = torch.randn(2, 3, side, side)
    pooled = PlainStem(3, 4, 2, "pooled").eval()
    convolution, _, norm = pooled.conv
    maps = torch.nn.functional.pad(convolution(images), (0, side % 2) * 2, value=-torch.inf)
    largest = maps.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    torch.testing.assert_close(pooled(images)[0], norm(largest))


@pytest.mark.parametrize(
    ("choice", "side", "stem"),
    [("auto", 23, "cifar"), ("auto", 24, "pooled"), ("cifar", 64, "cifar")],
)
def test_the_stem_of_a_recipe_fits_the_images(choice: Stem, side: int, stem: Stem) -> None:
    assert stem_for(choice, side) == stem


@pytest.mark.parametrize(("cells", "places"), [(20, (6, 13)), (8, (2, 5)), (14, (4, 9)), (1, (0,))])
def test_reductions_at_a_third_and_two_thirds(cells: int, places: tuple[int, ...]) -> None:
    assert reductions(cells) == places


@pytest.mark.parametrize("side", [4, 7, 8, 10])
@pytest.mark.parametrize("imagenet", [False, True])
def test_the_auxiliary_head_takes_any_size(side: int, imagenet: bool) -> None:
    head = AuxiliaryHead(6, 5, imagenet=imagenet)
    assert head(torch.randn(2, 6, side, side)).shape == (2, 5)


def test_drop_path_drops_samples_and_keeps_the_mean() -> None:
    from dots.networks.derived import _kept

    torch.manual_seed(0)
    x = torch.ones(20_000, 1, 1, 1)
    dropped = x * _kept(x, 0.3)
    low, high = sorted(set(dropped.flatten().tolist()))
    assert (low, high) == (0.0, pytest.approx(1 / 0.7))
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)


def test_drop_path_is_for_training_alone() -> None:
    network = DerivedNetwork(DOTS, _published())
    images = torch.randn(4, 3, 8, 8)
    network.drop_path = 0.9
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        network.train()
        assert not torch.equal(network(images), network(images))


def test_features_are_the_last_of_each_resolution() -> None:
    network = DerivedNetwork(DOTS, Shape(6, 8, 3, 5)).eval()
    maps = network.features(torch.randn(2, 3, 32, 32))
    assert [tuple(m.shape) for m in maps] == [(2, 32, 32, 32), (2, 64, 16, 16), (2, 128, 8, 8)]


def test_operation_costs_by_hand() -> None:
    """C = 8 on 6×6: two depthwise 3×3, two 1×1, two norms of two parameters a channel."""
    cost = operation_cost("sep_conv_3x3", 8, 1, 6)
    assert cost.parameters == 2 * (8 * 9 + 64 + 16)
    assert cost.multiply_adds == 2 * 36 * (8 * 9 + 64)
    assert operation_cost("skip_connect", 8, 1, 6) == Cost(0, 0)
    assert operation_cost("none", 8, 1, 6) == Cost(0, 0)
    assert operation_cost("skip_connect", 8, 2, 6) == Cost(64 + 16, 9 * 64)


def test_module_cost_of_a_linear_layer() -> None:
    assert module_cost(nn.Linear(5, 7), torch.zeros(1, 5)) == Cost(42, 35)
