from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from helpers import exported_run

pytest.importorskip("timm", reason="needs timm (the timm extra)")

import timm  # after the check that it is there
from timm.data import create_transform, resolve_model_data_config

import dots.export.timm
from dots import zoo
from dots.common.errors import UserError
from dots.data import prepare
from dots.export import export_run
from dots.networks.skeletons import published_cost
from dots.zoo.sizes import published_sizes

SMALL = {"genotype": "DARTS_V2", "cells": 4, "channels": 4, "num_classes": 7}
IMAGES = torch.randn(2, 3, 16, 16)


def small(**arguments: object) -> torch.nn.Module:
    return timm.create_model("dots_network", **(SMALL | arguments)).eval()


def test_every_published_cell_is_a_model() -> None:
    known = set(timm.list_models("dots_*"))
    for cell in zoo.names():
        names = {dots.export.timm.model_name(cell, size) for size in published_sizes(cell)}
        assert names <= known, cell
    assert len(known) == len(dots.export.timm.names) == len(set(dots.export.timm.names))


@pytest.mark.parametrize(
    ("name", "side"), [("dots_c10_cifar", 32), ("dots_enas_micro_cifar", 32)]
)  # fmt: skip
def test_a_published_model_has_its_published_size(name: str, side: int) -> None:
    model = timm.create_model(name, num_classes=10)
    cell = "DOTS_C10" if "c10" in name else "ENAS_micro"
    cost = published_cost(zoo.load(cell).genotype, published_sizes(cell)[0])
    assert sum(p.numel() for p in model.parameters()) == cost.parameters
    config = resolve_model_data_config(model)
    assert config["input_size"] == (3, side, side)
    assert model.pretrained_cfg["num_classes"] == 10
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == 3
    classifier = model.get_submodule(model.pretrained_cfg["classifier"])
    assert classifier is model.get_classifier()


def test_an_imagenet_model_halves_five_times() -> None:
    model = timm.create_model(
        "dots_c10_imagenet", cells=4, channels=8, num_classes=5, features_only=True
    )
    assert model.feature_info.reduction() == [8, 16, 32]
    outputs = model(torch.zeros(1, 3, 64, 64))
    assert [64 // x.shape[2] for x in outputs] == [8, 16, 32]


def test_forward_is_the_head_of_the_features() -> None:
    model = small()
    features = model.forward_features(IMAGES)
    assert features.shape == (2, model.num_features, 4, 4)
    assert torch.equal(model.forward_head(features), model(IMAGES))
    pooled = model.forward_head(features, pre_logits=True)
    assert torch.allclose(model.get_classifier()(pooled), model(IMAGES))


@pytest.mark.parametrize("skeleton", ["darts", "nasnet", "enas"])
def test_feature_info_is_what_comes_out(skeleton: str) -> None:
    cell = {"nasnet": "PNASNet5_tf", "enas": "ENAS_micro"}.get(skeleton, "DARTS_V2")
    model = small(genotype=cell, skeleton=skeleton, channels=8, features_only=True)
    outputs = model(IMAGES)
    assert model.feature_info.channels() == [x.shape[1] for x in outputs]
    assert model.feature_info.reduction() == [16 // x.shape[2] for x in outputs]
    assert len(outputs) == 3


def test_features_of_chosen_levels() -> None:
    torch.manual_seed(0)
    model = small()
    last, chosen = model.forward_intermediates(IMAGES, indices=[0, -1])
    assert [x.shape[2] for x in chosen] == [16, 4]
    assert torch.equal(last, model.forward_features(IMAGES))
    assert len(small(features_only=True, out_indices=(1,))(IMAGES)) == 1


def test_the_classifier_can_be_replaced_and_left_out() -> None:
    model = small()
    model.reset_classifier(3)
    assert model(IMAGES).shape == (2, 3)
    model.reset_classifier(0)
    assert model(IMAGES).shape == (2, model.num_features)
    assert small(num_classes=0)(IMAGES).shape == (2, model.num_features)
    assert small(num_classes=0, global_pool="")(IMAGES).shape == (2, model.num_features, 4, 4)
    assert small(in_chans=1)(IMAGES[:, :1]).shape == (2, 7)


def test_every_parameter_learns() -> None:
    model = small(drop_rate=0.1, drop_path_rate=0.1).train()
    model(IMAGES).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "arguments",
    [{"genotype": "nothing"}, {"global_pool": "max"}, {"skeleton": "other"}],
)
def test_mistakes_are_named(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError):
        small(**arguments)


def test_what_is_not_supported_says_so() -> None:
    with pytest.raises(UserError, match="gradient checkpointing"):
        small().set_grad_checkpointing()
    with pytest.raises(UserError, match="genotype"):
        timm.create_model("dots_network")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("timm")
    return export_run(exported_run.make_run(place / "run"), "timm").path


def test_a_found_network_is_a_pretrained_model(folder: Path) -> None:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    trained = dots.load(folder.parents[1])
    images = torch.randn(2, 3, 12, 12)
    assert torch.equal(model(images), trained(images))
    assert model.pretrained_cfg["label_names"] == list(exported_run.CLASSES)


def test_a_found_network_is_a_pretrained_backbone(folder: Path) -> None:
    trained = dots.load(folder.parents[1])
    images = torch.randn(2, 3, 12, 12)
    backbone = timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True).eval()
    for found, expected in zip(backbone(images), trained.network.features(images), strict=True):
        assert torch.equal(found, expected)
    tuned = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=4)
    assert tuned(images).shape == (2, 4)
    stem = "network.body.stem.conv.0.weight"
    assert torch.equal(tuned.state_dict()[stem], trained.network.state_dict()[stem[8:]])
    grey = timm.create_model(f"local-dir:{folder}", pretrained=True, in_chans=1)
    assert grey(images[:, :1]).shape == (2, 10)


def test_timms_own_transform_prepares_images_of_the_size_alike(folder: Path) -> None:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    content = base64.b64decode(exported_run.digits(exported_run.info(), 1)[0])
    image = Image.open(io.BytesIO(content)).convert("RGB")
    expected = prepare(image, exported_run.info())
    torch.testing.assert_close(transform(image)[None], expected, rtol=0, atol=1e-5)


def _timms(size: int, crop: float, image: Image.Image) -> torch.Tensor:
    """What timm's transform gives, and nothing is normalised away: levels from 0 to 255."""
    cut = {"crop_pct": crop, "crop_mode": "center", "interpolation": "bilinear"}
    transform = create_transform((3, size, size), mean=(0,) * 3, std=(1,) * 3, **cut)
    return 255 * transform(image)


def _ours(size: int, crop: float, image: Image.Image) -> torch.Tensor:
    transform = dots.export.timm.create_transform(
        input_size=(3, size, size), mean=(0,) * 3, std=(1,) * 3, crop_pct=crop
    )
    return 255 * transform(image)


@pytest.mark.parametrize(("size", "crop", "side"), [(32, 1.0, 32), (224, 0.875, 256)])
def test_timms_transform_is_exact_on_squares_of_the_right_size(
    size: int, crop: float, side: int
) -> None:
    image = Image.fromarray(load_sample_image("china.jpg")).resize((side, side))
    torch.testing.assert_close(
        _timms(size, crop, image), _ours(size, crop, image), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(
    ("photo", "size", "mean"),
    [
        ("china.jpg", 32, 4.56),
        ("flower.jpg", 32, 6.91),
        ("china.jpg", 224, 6.60),
        ("flower.jpg", 224, 3.90),
    ],
)
def test_timms_transform_differs_on_other_images_as_documented(
    photo: str, size: int, mean: float
) -> None:
    image = Image.fromarray(load_sample_image(photo))
    gap = (_timms(size, 1.0, image) - _ours(size, 1.0, image)).abs()
    assert float(gap.mean()) == pytest.approx(mean, abs=0.3)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["photo.jpg", "photo.png"])
def test_our_transform_is_that_of_the_training(
    folder: Path, tmp_path: Path, kind: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(load_sample_image("flower.jpg")).save(tmp_path / kind, exif=exif)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = dots.export.timm.create_transform(**resolve_model_data_config(model))
    expected = prepare(tmp_path / kind, exported_run.info())
    assert torch.equal(transform(tmp_path / kind)[None], expected)


def test_another_cut_than_the_trainings_is_refused() -> None:
    with pytest.raises(UserError, match="crop_mode 'squash'"):
        dots.export.timm.create_transform(
            input_size=(3, 8, 8), mean=(0,), std=(1,), crop_pct=1.0, crop_mode="squash"
        )
