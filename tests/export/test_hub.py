from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dots import zoo
from dots.common.errors import UserError
from dots.export.hub import PretrainedNetwork
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.skeletons import RULES, OwnNetwork
from helpers import exported_run

FIGURES = {"test_accuracy": 0.9123, "parameters": 1_234_567, "search_seconds": 61.5}


def saved(folder: Path, network: DerivedNetwork | OwnNetwork | None = None) -> PretrainedNetwork:
    trained = PretrainedNetwork(network or exported_run.network(), exported_run.info(), FIGURES)
    trained.eval().save_pretrained(folder)
    return trained


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    before = saved(tmp_path / "made")
    after = PretrainedNetwork.from_pretrained(tmp_path / "made")
    images = torch.rand(2, 3, 12, 12)
    assert torch.equal(before.probabilities(images), after.probabilities(images))
    assert (after.classes, after.figures, after.info) == (before.classes, FIGURES, before.info)
    assert not after.training


def test_the_folder_is_a_repository_of_the_hub(tmp_path: Path) -> None:
    saved(tmp_path)
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "network.json"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "dots_network"
    assert config["label_names"] == list(exported_run.CLASSES)


def test_the_card_has_the_numbers_and_its_metadata_are_yaml(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which huggingface_hub brings")
    saved(tmp_path)
    text = (tmp_path / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["library_name"] == "dots-nas"
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.9123}]
    assert result["dataset"]["name"] == "digits & more"
    assert "| test accuracy | 91.23 % |" in body
    assert "| parameters | 1,234,567 |" in body
    assert "2 = sep_conv_3x3(0) + avg_pool_3x3(1)" in body
    assert "<2>" not in body


def test_the_hub_itself_finds_the_card_sound(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (the hub extra)")
    saved(tmp_path)
    data = hub.ModelCard.load(tmp_path / "README.md").data
    assert data.eval_results[0].metric_value == 0.9123
    assert data.pipeline_tag == "image-classification"


def test_own_skeletons_come_back(tmp_path: Path) -> None:
    genotype = zoo.load("PNASNet5_tf").genotype
    network = OwnNetwork(genotype, RULES["nasnet"], Shape(3, 8, 3, 10))
    before = saved(tmp_path, network)
    after = PretrainedNetwork.from_pretrained(tmp_path)
    images = torch.rand(2, 3, 12, 12)
    assert torch.equal(before.probabilities(images), after.probabilities(images))


def test_nothing_is_looked_up_for_a_path_that_is_not_there(tmp_path: Path) -> None:
    for where in (tmp_path / "nowhere", "./a/b", "name"):
        with pytest.raises(UserError, match="no folder"):
            PretrainedNetwork.from_pretrained(where)


def test_without_a_connection_one_line_says_so() -> None:
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (the hub extra)")
    with pytest.raises(UserError, match="hub does not give it"):
        PretrainedNetwork.from_pretrained("nobody/nothing", local_files_only=True)


def test_damage_is_found(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        PretrainedNetwork.from_pretrained(tmp_path)
