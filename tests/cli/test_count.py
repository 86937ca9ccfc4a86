"""dots count: the same numbers as the networks themselves have."""

from __future__ import annotations

import json

import pytest

from dots import zoo
from dots.cli.app import run
from dots.networks.body import Shape
from dots.networks.reference import build_reference
from dots.networks.skeletons import RULES, OwnNetwork
from dots.zoo.counts import counts, reference_counts

IMAGENET = ["--skeleton", "imagenet"]


def counted(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, int]:
    assert run(["count", *words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    return content["parameters"], content["multiply_adds"]


def test_a_cell_is_counted_at_its_published_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    known = counts("DOTS_C10")["cifar10"]
    assert counted(capsys, "DOTS_C10") == (known.parameters, known.multiply_adds)


@pytest.mark.parametrize("name", ["mobilenet", "ShuffleNet-v1"])
def test_a_reference_network_is_counted_by_name(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    known = reference_counts(name.lower().replace("-", "_"))["imagenet"]
    assert counted(capsys, name, *IMAGENET) == (known.parameters, known.multiply_adds)


def test_a_reference_network_at_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mobilenet", "--classes", "5", "--image-size", "40", "--image-channels", "1"]
    parameters, _ = counted(capsys, *words)
    network = build_reference("mobilenet", 5, 1, 40)
    assert parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("NASNet_A_tf", "imagenet", IMAGENET),
        ("PNASNet5_tf", "cifar10", []),
        ("AmoebaNet_B_tf", "imagenet", IMAGENET),
        ("ENAS_micro", "cifar10", []),
        ("DOTS_C10", "cifar10", []),
    ],
)
def test_a_cell_in_its_own_skeleton_is_counted_as_published(
    capsys: pytest.CaptureFixture[str], name: str, data: str, words: list[str]
) -> None:
    known = counts(name)[data]
    found = counted(capsys, name, "--own-skeleton", *words)
    assert found == (known.parameters, known.multiply_adds)


def test_an_own_skeleton_at_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--layers", "3", "--channels", "8", "--classes", "7", "--image-size", "16"]
    parameters, _ = counted(capsys, "ENAS_micro", "--own-skeleton", *words)
    network = OwnNetwork(zoo.load("ENAS_micro").genotype, RULES["enas"], Shape(3, 8, 3, 7))
    assert parameters == sum(p.numel() for p in network.parameters())
