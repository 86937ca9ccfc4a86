"""A trained network on disk: round trip, damage, hostile files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dots import zoo
from dots.common.errors import UserError
from dots.data import DataInfo
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.saved import load_model, save_network

INFO = DataInfo("toy", ("a", "b"), 3, 8, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), flip=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = DerivedNetwork(zoo.load("DOTS_C10").genotype, Shape(2, 4, 3, 2), auxiliary=True)
    network(torch.randn(4, 3, 8, 8))  # batch statistics of its own
    save_network(tmp_path, network, INFO)
    return tmp_path


def test_a_saved_network_comes_back_without_its_auxiliary_head(folder: Path) -> None:
    torch.manual_seed(0)
    network = DerivedNetwork(zoo.load("DOTS_C10").genotype, Shape(2, 4, 3, 2), auxiliary=True)
    network(torch.randn(4, 3, 8, 8))
    loaded = load_model(folder)
    images = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        expected = network.eval()((images - loaded.mean) / loaded.std).softmax(1)
    torch.testing.assert_close(loaded.probabilities(images), expected)
    assert loaded.classes == ("a", "b")
    assert loaded.info == INFO
    assert not any(name.startswith("network.auxiliary") for name in loaded.state_dict())
    assert not loaded.training


@pytest.mark.parametrize("place", [8, 100, -1])
def test_a_flipped_bit_is_named(folder: Path, place: int) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"weights\.safetensors' is damaged"):
        load_model(folder)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="weights of the network are missing"):
        load_model(folder)
    (folder / "network.json").unlink()
    with pytest.raises(UserError, match="did the run finish"):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 2, "version 1"),
        ("shape", {}, "shape is not complete"),
        ("shape", {"cells": 10**9}, "cells cannot be"),
        ("shape", {"stem": "other"}, "unknown stem"),
        ("shape", {"classes": 3}, "does not fit the data"),
        ("genotype", {}, "genotype"),
        ("data", [], "describes the data"),
    ],
)
def test_an_altered_description_is_refused(
    folder: Path, key: str, value: object, message: str
) -> None:
    path = folder / "network.json"
    description = json.loads(path.read_text())
    if isinstance(value, dict) and value:
        value = description[key] | value
    path.write_text(json.dumps({**description, key: value}))
    with pytest.raises(UserError, match=message):
        load_model(folder)


def test_unknown_skeletons_and_references_are_refused(folder: Path) -> None:
    path = folder / "network.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "skeleton": "round"}))
    with pytest.raises(UserError, match="unknown skeleton 'round'"):
        load_model(folder)
    path.write_text(json.dumps({**description, "reference": "mobile"}))
    with pytest.raises(UserError, match="no reference network 'mobile'"):
        load_model(folder)
