"""Published cells in their own skeletons: their sizes, and that they learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from dots import zoo
from dots.common.errors import UserError
from dots.networks.body import Shape, Stem
from dots.networks.skeletons import ENAS, NASNET, RULES, OwnNetwork, published_cost
from dots.networks.skeletons.network import plan_own
from dots.zoo.sizes import own_skeleton, published_sizes

PUBLISHED = {
    # name, data: millions of parameters and of multiply-adds as printed by the papers
    ("NASNet_A_tf", "cifar10"): (3.3, None),
    ("NASNet_A_tf", "imagenet"): (5.3, 564),
    ("PNASNet5_tf", "cifar10"): (3.2, None),
    ("PNASNet5_tf", "imagenet"): (5.1, 588),
    ("AmoebaNet_B_tf", "cifar10"): (2.8, None),
    ("AmoebaNet_C_tf", "imagenet"): (6.4, None),
}
OWN = sorted(name for name in zoo.names() if own_skeleton(name) != "darts")


@pytest.mark.parametrize(("name", "data"), sorted(PUBLISHED))
def test_counts_are_the_printed_millions(name: str, data: str) -> None:
    (size,) = (size for size in published_sizes(name) if size.data == data)
    cost = published_cost(zoo.load(name).genotype, size)
    parameters, multiply_adds = PUBLISHED[name, data]
    # 3.35 is printed as 3.3 and 6.35 as 6.4: either way of rounding
    assert abs(cost.parameters / 1e6 - parameters) < 0.0501
    if multiply_adds is not None:
        assert abs(cost.multiply_adds / 1e6 - multiply_adds) < 1


def test_nasnet_mobile_to_the_last_parameter() -> None:
    """Keras, too, counts 5,289,978 trainable weights in NASNetMobile."""
    name = "NASNet_A_tf"
    cost = published_cost(zoo.load(name).genotype, published_sizes(name)[-1])
    assert cost.parameters == 5_289_978
    assert cost.multiply_adds == 563_638_816


@pytest.mark.parametrize("stem", ["cifar", "pooled", "strided", "imagenet"])
@pytest.mark.parametrize("name", OWN)
def test_every_parameter_learns_and_sizes_need_not_be_even(name: str, stem: Stem) -> None:
    rules = RULES[own_skeleton(name)]
    shape = Shape(5, 8, 3, 4, stem=stem)
    if stem == "imagenet" and rules.stem_cells is None:
        with pytest.raises(UserError, match="no published stem"):
            OwnNetwork(zoo.load(name).genotype, rules, shape)
        return
    torch.manual_seed(0)
    side = 90 if stem == "imagenet" else 22
    network = OwnNetwork(zoo.load(name).genotype, rules, shape, auxiliary=True)
    network.drop_path = 0.1
    logits, extra = network.forward_with_auxiliary(torch.randn(4, 3, side, side))
    assert extra is not None
    labels = torch.arange(4)
    (cross_entropy(logits, labels) + cross_entropy(extra, labels)).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None]
    assert not without


def test_fast_and_plain_agree() -> None:
    torch.manual_seed(0)
    genotype = zoo.load("AmoebaNet_C_tf").genotype
    network = OwnNetwork(genotype, NASNET, Shape(3, 8, 3, 4)).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    fast = network(images)
    network.fast = False
    assert torch.allclose(network(images), fast, atol=1e-8)


def test_plan_of_nasnet_by_hand() -> None:
    width, plans = plan_own(
        NASNET, Shape(3, 44, 3, 10, stem="imagenet"), {"normal": 6, "reduce": 4}
    )
    assert width == 32
    assert [(plan.kind, plan.channels, plan.inputs) for plan in plans] == [
        ("reduce", 11, ((32, "none"), (32, "conv"))),
        ("reduce", 22, ((32, "reduce"), (44, "conv"))),
        ("normal", 44, ((44, "reduce"), (88, "conv"))),
        ("reduce", 88, ((88, "none"), (264, "conv"))),
        ("reduce", 176, ((264, "reduce"), (352, "conv"))),
    ]


def test_enas_converts_both_inputs_and_has_no_bias() -> None:
    network = OwnNetwork(zoo.load("ENAS_micro").genotype, ENAS, Shape(4, 8, 3, 10))
    assert network.classifier.bias is None
    assert [step for _, step in network.plans[0].inputs] == ["conv", "conv"]


def test_backbone_features_are_one_for_each_resolution() -> None:
    network = OwnNetwork(zoo.load("NASNet_A_tf").genotype, NASNET, Shape(6, 8, 3, 4)).eval()
    with torch.no_grad():
        features = network.features(torch.randn(1, 3, 16, 16))
    assert [f.shape[-1] for f in features] == [16, 8, 4]
