"""Folders as the Hugging Face hub and timm know them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.common.files import read_json, write_json, write_text
from dots.common.records import NETWORK
from dots.data.info import DataInfo
from dots.export.card import card
from dots.export.description import Description
from dots.export.images import inputs
from dots.export.package import Package
from dots.export.target import Reader, Target
from dots.networks.derived import DerivedNetwork
from dots.networks.saved import TrainedModel, load_model, save_network
from dots.networks.skeletons import OwnNetwork

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
CellNetwork = DerivedNetwork | OwnNetwork


class PretrainedNetwork(TrainedModel):
    """A trained network that goes to a folder or the Hugging Face hub, and comes from there.

    `figures` are the numbers of the run's report that the model card shows.
    """

    def __init__(
        self, network: CellNetwork, info: DataInfo, figures: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(network, info)
        self.network: CellNetwork = network
        self.figures = dict(figures or {})

    @property
    def description(self) -> Description:
        """Name, preprocessing, classes and figures."""
        return Description(self.info.name, self.info, self.figures)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, network.json, model.safetensors and the model card README.md.

        The folder is a model repository of the hub as it is (`hf upload USER/NAME FOLDER`).
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        save_network(path, self.network, self.info, weights_name=WEIGHTS)
        write_json(path / CONFIG, config(self))
        write_text(path / CARD, card(self.description, self.network))

    @classmethod
    def from_pretrained(
        cls, where: str | Path, *, revision: str | None = None, local_files_only: bool = False
    ) -> PretrainedNetwork:
        """The network in a folder, or in a repository USER/NAME of the hub; in evaluation mode.

        Raises UserError where there is none, or it is damaged.
        """
        path = Path(where)
        if not path.is_dir():
            path = _downloaded(str(where), revision, local_files_only)
        trained = load_model(path, weights_name=WEIGHTS)
        value = read_json(path / CONFIG, what="the configuration of a network")
        figures = value.get("figures", {}) if isinstance(value, dict) else {}
        known = figures if isinstance(figures, dict) else {}
        return cls(_of_cells(trained), trained.info, known).eval()


def _of_cells(trained: TrainedModel) -> CellNetwork:
    network = trained.network
    if not isinstance(network, DerivedNetwork | OwnNetwork):
        raise UserError("only networks of cells go to timm and the hub: choose another --to")
    return network


def _downloaded(name: str, revision: str | None, local_files_only: bool) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise UserError(f"no folder {name!r}, and the hub's names are like USER/NAME")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(
            f"no folder {name!r}; to look on the hub: pip install 'dots-nas[hub]'"
        ) from None
    wanted = [CONFIG, NETWORK, WEIGHTS]
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=wanted, local_files_only=local_files_only
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        line = (str(error).strip().splitlines() or ["it cannot be reached"])[0]
        raise UserError(f"no folder {name!r}, and the hub does not give it: {line}") from None
    return Path(folder)


def config(trained: PretrainedNetwork) -> dict[str, Any]:
    """The content of config.json, in timm's keys: `timm.create_model("hf-hub:USER/NAME")`."""
    network = trained.network
    shape = asdict(network.shape)
    own = isinstance(network, OwnNetwork)
    classifier = network.classifier if isinstance(network, OwnNetwork) else network.body.classifier
    prefix = "network" if own else "network.body"
    return {
        "architecture": "dots_network",
        "num_classes": len(trained.classes),
        "num_features": classifier.in_features,
        "global_pool": "avg",
        "label_names": list(trained.classes),
        "model_args": {
            "genotype": network.genotype.to_json(),
            "cells": shape["cells"],
            "channels": shape["channels"],
            "stem": shape["stem"],
            "head_norm": shape["head_norm"],
            "skeleton": network.rules.name if isinstance(network, OwnNetwork) else "darts",
            "in_chans": shape["image_channels"],
            "num_classes": len(trained.classes),
        },
        "pretrained_cfg": {
            **trained.description.preprocessing(),
            "first_conv": f"{prefix}.stem.{_first_convolution(network)}",
            "classifier": f"{prefix}.classifier",
        },
        "library_name": "dots-nas",
        "figures": dict(trained.figures),
    }


def _first_convolution(network: CellNetwork) -> str:
    """The path in the stem."""
    if isinstance(network, OwnNetwork):
        return "0"
    deep = network.shape.stem == "imagenet" and network.genotype.space != "nasbench201"
    return "stem0.0.0" if deep else "conv.0"


def _pretrained(package: Package) -> PretrainedNetwork:
    trained = package.trained
    return PretrainedNetwork(_of_cells(trained), trained.info, package.description.figures)


def write_hub(package: Package, path: Path) -> None:
    """Write a folder as `PretrainedNetwork.save_pretrained` does."""
    _pretrained(package).save_pretrained(path)


def _hub_answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    network = PretrainedNetwork.from_pretrained(path)
    with torch.no_grad():
        return torch.softmax(network(inputs(files, network.info)), dim=1)


def write_timm(package: Package, path: Path) -> None:
    """Write a folder for `timm.create_model("local-dir:FOLDER", pretrained=True)`."""
    path.mkdir()
    trained = _pretrained(package)
    save_network(path, trained.network, trained.info, weights_name=WEIGHTS)
    write_json(path / CONFIG, config(trained))


def _timm_answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities from what timm makes of the folder, with the preprocessing it then knows."""
    import timm

    import dots.export.timm  # noqa: F401  # tells timm of the architecture

    model = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    known = model.pretrained_cfg
    content = {
        "version": 1,
        "name": "timm",
        "preprocessing": known,
        "classes": list(known["label_names"]),
    }
    info = Description.from_json(content, repr(str(path))).info
    with torch.no_grad():
        return torch.softmax(model(inputs(files, info)), dim=1)


TIMM = Target("timm", "", ("timm",), "timm", write_timm, _timm_answers)
HUB = Target("hub", "", (), "", write_hub, _hub_answers)
