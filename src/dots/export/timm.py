"""Networks of DOTS in timm: `import dots.export.timm`, then `timm.create_model("dots_...")`.

Every published cell of the zoo is a model at its published size: `dots_NAME_cifar` (32×32
pixels) and, where there is one, `dots_NAME_imagenet` (224×224). `dots_network` takes any
`genotype` (a file, a run, a name of the zoo, its JSON) and any size. A folder that
`dots export --to timm` or `--to hub` wrote is `timm.create_model("local-dir:FOLDER",
pretrained=True)`. The usual arguments apply: `num_classes`, `in_chans`, `features_only`,
`drop_rate`, `drop_path_rate`, `global_pool`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from dots import zoo
from dots.common.errors import UserError
from dots.data import DataInfo, prepare
from dots.networks.body import Shape, Stem
from dots.networks.derived import DerivedNetwork
from dots.networks.skeletons import RULES, OwnNetwork
from dots.space.genotype import Genotype
from dots.zoo.sizes import PublishedSize, published_sizes

_PROBE = 64  # pixels; reduced to 2 by the deepest published network


class DotsNet(nn.Module):
    """A derived network with timm's interface.

    `genotype` is a Genotype, its JSON, or what names one (see the module). `skeleton` is that
    of DARTS, or "nasnet" or "enas". `feature_info` lists the last output at each resolution,
    finest first. Raises UserError for what cannot be built.
    """

    def __init__(
        self,
        genotype: Genotype | str | dict[str, Any],
        *,
        cells: int = 20,
        channels: int = 36,
        stem: Stem = "cifar",
        head_norm: bool = False,
        skeleton: str = "darts",
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if global_pool not in ("avg", ""):
            raise UserError(f"global_pool {global_pool!r}: choose 'avg' or ''")
        cell = _genotype(genotype)
        shape = Shape(cells, channels, in_chans, max(1, num_classes), stem, head_norm)
        self.network = _network(cell, skeleton, shape)
        self.network.drop_path = drop_path_rate
        self.drop_rate = drop_rate
        self.global_pool = global_pool
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = self.get_classifier_in()
        self.feature_info = _levels(cell, skeleton, shape)
        self.grad_checkpointing = False
        if num_classes < 1:
            self.reset_classifier(0)

    def _home(self) -> nn.Module:
        """The module that holds the classifier."""
        network = self.network
        return network.body if isinstance(network, DerivedNetwork) else network

    def get_classifier_in(self) -> int:
        """The width of the features before the classifier."""
        linear = self._home().classifier
        assert isinstance(linear, nn.Linear)
        return linear.in_features

    def get_classifier(self) -> nn.Module:
        """The linear layer, or an Identity."""
        classifier = self._home().classifier
        assert isinstance(classifier, nn.Module)
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier of so many classes; 0: none."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = global_pool
        place = next(self.parameters()).device
        new = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self._home().classifier = new.to(place)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Not supported: raises UserError where it is asked for."""
        if enable:
            raise UserError("networks of DOTS have no gradient checkpointing in timm")

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Which parameters belong to which layer, for rates that differ by layer."""
        return {
            "stem": r"^network\.(?:body\.)?stem",
            "blocks": r"^network\.(?:body\.)?(?:cells|transitions)\.(\d+)",
        }

    def forward_features(self, x: Tensor) -> Tensor:
        """The last cell's output [B, C, H, W], normalised where the network does so."""
        features = self.network.features(x)[-1]
        network = self.network
        if isinstance(network, DerivedNetwork):
            normed: Tensor = network.body.head(features)
            return normed
        return F.relu(features)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [B, classes] of `forward_features`, or what the classifier would see."""
        if self.global_pool:
            x = x.mean(dim=(2, 3))
        x = F.dropout(x, self.drop_rate, self.training)
        if pre_logits or self.num_classes < 1:
            return x
        logits: Tensor = self.get_classifier()(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of normalised images [B, C, H, W]."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last output at the chosen resolutions, and with it that of `forward_features`."""
        if output_fmt != "NCHW":
            raise UserError(f"output_fmt {output_fmt!r}: networks of DOTS give 'NCHW'")
        features = self.network.features(x)
        taken, _ = feature_take_indices(len(self.feature_info), indices)
        chosen = [features[index] for index in taken]
        if intermediates_only:
            return chosen
        network = self.network
        last = network.body.head(features[-1]) if isinstance(network, DerivedNetwork) else None
        return F.relu(features[-1]) if last is None else last, chosen

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Leave out the classifier; cells stay, since each feeds the two after it."""
        taken, _ = feature_take_indices(len(self.feature_info), indices)
        if prune_head:
            self.reset_classifier(0, "")
        return list(taken)


def _genotype(given: Genotype | str | dict[str, Any]) -> Genotype:
    if isinstance(given, Genotype):
        return given
    return Genotype.from_json(given) if isinstance(given, dict) else zoo.resolve(str(given))


def _network(genotype: Genotype, skeleton: str, shape: Shape) -> DerivedNetwork | OwnNetwork:
    if skeleton == "darts":
        return DerivedNetwork(genotype, shape)
    if skeleton not in RULES:
        raise UserError(f"skeleton {skeleton!r}: choose darts, {', '.join(RULES)}")
    return OwnNetwork(genotype, RULES[skeleton], shape)


def _levels(genotype: Genotype, skeleton: str, shape: Shape) -> list[dict[str, Any]]:
    """timm's feature_info, read off a network on the meta device."""
    with torch.device("meta"):
        network = _network(genotype, skeleton, shape).eval()
        network.fast = False
        outputs = network.features(torch.empty(1, shape.image_channels, _PROBE, _PROBE))
    return [
        {"num_chs": x.shape[1], "reduction": round(_PROBE / x.shape[2]), "module": f"level{n}"}
        for n, x in enumerate(outputs)
    ]


def _prefixed(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights as a run saves them, as the model calls them."""
    own = {name.removeprefix("network."): value for name, value in weights.items()}
    return {f"network.{name}": value for name, value in own.items()}


def _create(variant: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    features: dict[str, Any] = {"feature_cls": "getter"}
    if arguments.get("features_only"):
        shape = Shape(
            arguments.get("cells", 20),
            arguments.get("channels", 36),
            image_channels=3,
            classes=1,
            stem=arguments.get("stem", "cifar"),
        )
        skeleton = arguments.get("skeleton", "darts")
        levels = _levels(_genotype(arguments["genotype"]), skeleton, shape)
        features["out_indices"] = tuple(range(len(levels)))
    model: nn.Module = build_model_with_cfg(
        DotsNet,
        variant,
        pretrained,
        feature_cfg=features,
        pretrained_filter_fn=_prefixed,
        **arguments,
    )
    return model


def _size_config(size: PublishedSize) -> dict[str, Any]:
    own = size.skeleton != "darts"
    stem = "network" if own else "network.body"
    side, large = size.image_size, size.data == "imagenet"
    first = "stem.0" if own else ("stem.stem0.0.0" if large else "stem.conv.0")
    return {
        "input_size": (3, side, side),
        "num_classes": size.classes,
        "crop_pct": 0.875 if large else 1.0,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN if large else (0.4914, 0.4822, 0.4465),
        "std": IMAGENET_DEFAULT_STD if large else (0.2470, 0.2435, 0.2616),
        "first_conv": f"{stem}.{first}",
        "classifier": f"{stem}.classifier",
    }


def create_transform(
    *,
    input_size: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    crop_pct: float,
    crop_mode: str = "center",
    interpolation: str = "bilinear",
) -> Callable[[str | Path | Image.Image], Tensor]:
    """From an image file or a picture to what the network takes, [C, H, W], normalised.

    The arguments are what timm's `resolve_model_data_config(model)` gives. timm's own transform
    resizes first and cuts then, which moves pixels where the image is not of the right size;
    this one cuts first, as the training did. Raises UserError for another `crop_mode` or
    `interpolation`.
    """
    if (crop_mode, interpolation) != ("center", "bilinear"):
        raise UserError(
            f"crop_mode {crop_mode!r} with interpolation {interpolation!r}: the training had "
            "'center' and 'bilinear'"
        )
    channels, size, _ = input_size
    info = DataInfo("", ("",), channels, size, tuple(mean), tuple(std), False, crop_pct)
    return lambda picture: prepare(picture, info)[0]


def model_name(cell: str, size: PublishedSize) -> str:
    """The name in timm of a published cell at a published size."""
    word = cell.lower().removeprefix("dots_").removesuffix("_tf")
    return f"dots_{word}_{'imagenet' if size.data == 'imagenet' else 'cifar'}"


def _published() -> dict[str, tuple[str, PublishedSize]]:
    """Model name -> the zoo's name of the cell, and the size."""
    return {
        model_name(cell, size): (cell, size)
        for cell in zoo.names()
        for size in published_sizes(cell)
        if size.data != "cifar100"
    }


def dots_network(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The network of any `genotype`; `cells`, `channels`, `stem` and more as of DotsNet."""
    if "genotype" not in kwargs:
        raise UserError("dots_network needs genotype=...: a file, a run, or a name of the zoo")
    return _create("dots_network", pretrained, kwargs)


def _entry(name: str, cell: str, size: PublishedSize) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        published = {
            "genotype": cell,
            "cells": size.cells,
            "channels": size.channels,
            "stem": "imagenet" if size.data == "imagenet" else "cifar",
            "skeleton": size.skeleton,
        }
        return _create(name, pretrained, published | kwargs)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"The published cell {cell}, {size.cells} cells of {size.channels} channels."
    return create


def _register(published: dict[str, tuple[str, PublishedSize]]) -> Sequence[str]:
    """Tell timm of all models: it looks for them in this module."""
    for name, (cell, size) in published.items():
        globals()[name] = register_model(_entry(name, cell, size))
    register_model(dots_network)
    return ["dots_network", *published]


default_cfgs = generate_default_cfgs(
    {name: _size_config(size) for name, (_, size) in _published().items()}
    | {"dots_network": _size_config(PublishedSize("cifar10", "darts", 20, 36))}
)
"""What timm calls the configurations of its models; none has published weights."""

__all__ = ["DotsNet", "create_transform", "dots_network", "model_name"]
names = tuple(_register(_published()))
"""The names of all models."""
