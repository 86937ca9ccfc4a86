"""Finished runs of small untrained networks, for exports: made in milliseconds."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from dots.data.info import DataInfo
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.saved import save_network
from dots.networks.skeletons import OwnNetwork
from dots.recipe import build_recipe
from dots.runs.directory import RunDirectory
from dots.space.genotype import Cell, Edge, Genotype

CLASSES = ("zero", "one", "two; or <2>", 'thr"ee', "vier äöü", "5", "6", "7", "8", "9")
SIZE = 12

EVERYTHING = Genotype(
    {
        "normal": Cell(
            (
                (Edge("sep_conv_3x3", 0), Edge("avg_pool_3x3", 1)),
                (Edge("dil_conv_5x5", 1), Edge("skip_connect", 2)),
                (Edge("max_pool_3x3", 0), Edge("dil_conv_3x3", 0)),
            ),
            (2, 3, 4),
        ),
        "reduce": Cell(
            (
                (Edge("skip_connect", 0), Edge("max_pool_3x3", 1)),
                (Edge("sep_conv_5x5", 1), Edge("avg_pool_3x3", 0)),
                (Edge("sep_conv_3x3", 2), Edge("avg_pool_3x3", 3)),
            ),
            (2, 3, 4),
        ),
    }
)
"""Every operation of the DARTS space, at both strides where there are two."""


def info(channels: int = 3, size: int = SIZE, centre: float = 1.0) -> DataInfo:
    """Ten classes with awkward names."""
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    return DataInfo("digits & more", CLASSES, channels, size, mean, std, False, centre)


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights, scales and running statistics that a training might have left."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        tensors = dict(network.named_parameters()) | dict(network.named_buffers())
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                centre = 0.0 if name.endswith("running_var") else 0.5
                tensor.add_(0.4 * (noise - centre).to(tensor))
    return network


def network(genotype: Genotype = EVERYTHING, **shape: object) -> DerivedNetwork:
    """A small network with the weights of `shaken`."""
    sizes = {"cells": 3, "channels": 4, "image_channels": 3, "classes": 10} | shape
    torch.manual_seed(0)
    result = DerivedNetwork(genotype, Shape(**sizes))  # type: ignore[arg-type]
    shaken(result)
    return result


def make_run(
    path: Path, trained: DerivedNetwork | OwnNetwork | None = None, about: DataInfo | None = None
) -> Path:
    """A run directory as far as exports read it, with digits as sample images."""
    about = about or info()
    with RunDirectory.create(build_recipe("tiny"), out=path) as run:
        save_network(path, trained or network(), about)
        pictures = [{"png": png, "label": "0"} for png in digits(about, 6)]
        run.write_json("samples.json", {"augmented": pictures, "mistakes": []})
        result = {"test_accuracy": 0.875, "parameters": 12_345, "test_top5": None, "seed": 3}
        run.write_json("result.json", result)
    return path


def digits(about: DataInfo, count: int) -> list[str]:
    """Real digits as PNG in base64, of the size and the channels of `about`."""
    pictures = []
    for picture in load_digits().images[:count]:
        grey = Image.fromarray((picture * 255 / 16).astype(np.uint8))
        image = grey.resize((about.image_size, about.image_size))
        file = io.BytesIO()
        (image if about.channels == 1 else image.convert("RGB")).save(file, "PNG")
        pictures.append(base64.b64encode(file.getvalue()).decode())
    return pictures
