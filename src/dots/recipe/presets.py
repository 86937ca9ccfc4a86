"""The presets, as functions. Published settings stand here to the digit, and nowhere else.

The `paper_*` presets follow the paper's Secs. 5.1 and 5.2. Where the paper is silent (batch,
rates, channels, weight-only epochs of the operation search) they take the values of the
authors' release; where the two differ, the paper's. `paper_release` follows the release.
`tiny`, `quick` and `small` shrink: channels, cells, epochs and images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dots.recipe.settings import (
    DataSettings,
    HalvingSettings,
    OperationSettings,
    Recipe,
    TopologySettings,
    TrainSettings,
)
from dots.recipe.shares import AS_WRITTEN


def tiny() -> Recipe:
    """Seconds on one core: for tests and for trying things out, not for accuracy."""
    return Recipe(
        preset="tiny",
        data=DataSettings(limit=600),
        operations=OperationSettings(
            epochs=2, weight_epochs=1, cells=3, channels=4, batch=64, lr=0.1, lr_min=0.001,
            arch_lr=1e-2, tune_epochs=1, rating_images=64,
        ),
        topology=TopologySettings(
            epochs=2, weight_epochs=0, cells=3, channels=4, batch=64, lr=0.1, lr_min=0.001,
            arch_lr=1e-2, arch_betas=(0.9, 0.999), tune_epochs=1, rating_images=64,
        ),
        train=TrainSettings(
            epochs=3, cells=3, channels=8, batch=64, lr=0.1, warmup_epochs=1, schedule="linear",
            anneal="step", nesterov=True, weight_decay=5e-4, label_smoothing=0.1,
        ),
    )  # fmt: skip


def quick() -> Recipe:
    """The default: minutes on two cores, of few images, pixels, cells and channels."""
    return Recipe(
        preset="quick",
        nominal_images=3_000,
        least_steps=20,
        baselines=("random", "plain", "published"),
        data=DataSettings(largest_size=32, limit=12_000, search_limit=2_000),
        operations=OperationSettings(
            epochs=4, weight_epochs=2, cells=3, channels=8, batch=64, lr=0.1, lr_min=0.001,
            stem="auto", arch_lr=1e-2, tune_epochs=1, rating_images=500,
        ),
        topology=TopologySettings(
            epochs=3, weight_epochs=1, cells=4, channels=8, batch=64, lr=0.1, lr_min=0.001,
            stem="auto", arch_lr=1e-2, arch_betas=(0.9, 0.999), tune_epochs=1, rating_images=500,
        ),
        halving=HalvingSettings(cells=4, epochs=3, dense=True),
        train=TrainSettings(
            epochs=22, published_epochs=38, cells=4, channels=16, batch=64, lr=0.1, stem="auto",
            warmup_epochs=6, schedule="linear", anneal="step", nesterov=True, weight_decay=5e-4,
            label_smoothing=0.1,
        ),
    )  # fmt: skip


def small() -> Recipe:
    """Hours on a patient CPU, less than one on a laptop's GPU: all images, medium networks."""
    return Recipe(
        preset="small",
        baselines=("random", "plain", "published"),
        operations=OperationSettings(
            epochs=15, weight_epochs=5, cells=5, channels=16, batch=64, lr=0.025, lr_min=0.001,
            arch_lr=1e-3, tune_epochs=1, rating_images=5_000,
        ),
        topology=TopologySettings(
            epochs=20, weight_epochs=0, cells=8, channels=16, batch=64, lr=0.025, lr_min=0.001,
            arch_lr=3e-3, arch_betas=(0.9, 0.999), tune_epochs=1, rating_images=5_000,
        ),
        halving=HalvingSettings(cells=8, epochs=3, warm_start=True),
        train=TrainSettings(
            epochs=60, published_epochs=110, cells=8, channels=24, batch=96, lr=0.1,
            warmup_epochs=10, schedule="linear", anneal="step", nesterov=True, weight_decay=5e-4,
            label_smoothing=0.1, drop_path=0.1,
        ),
    )  # fmt: skip


def paper_cifar() -> Recipe:
    """CIFAR-10 and CIFAR-100 (Sec. 5.1): 30 + 40 epochs of search, 600 of training.

    The paper's: 8 cells, then 20; annealing from 10 to 0.02 over all 40 epochs, per step
    (Eq. 9); γ divided by N(c) (Eq. 7). The release's, where the paper says nothing: 16
    channels, batch 64, one cosine over the 70 epochs of both stages (also after the weights
    were initialised anew), 15 leading weight-only epochs, Adam's betas, the auxiliary head.
    """
    return Recipe(
        preset="paper-cifar",
        operations=OperationSettings(
            epochs=30, weight_epochs=15, cells=8, channels=16, batch=64,
            lr=0.025, lr_min=0.001, lr_epochs=70, momentum=0.9, weight_decay=3e-4, clip=5.0,
            arch_lr=3e-4, arch_betas=(0.5, 0.999), arch_weight_decay=1e-3,
        ),
        topology=TopologySettings(
            epochs=40, weight_epochs=0, cells=20, channels=16, batch=64,
            lr=0.025, lr_min=0.001, lr_epochs=70, lr_offset=30,
            momentum=0.9, weight_decay=3e-4, clip=5.0,
            arch_lr=3e-4, arch_betas=(0.9, 0.999), arch_weight_decay=1e-3,
            t_start=10.0, t_end=0.02, anneal="step", alpha_ratio=1e-3, normalise=True,
        ),
        train=_cifar_training(),
    )  # fmt: skip


def paper_release() -> Recipe:
    """The schedule of the authors' release on CIFAR.

    It differs from the paper in the topology search: 8 cells, 20 leading weight-only epochs
    on half A and then annealing once per epoch, γ not divided by N(c); and both search
    networks have a batch norm and a ReLU before the pooling.
    """
    return Recipe(
        preset="paper-release",
        operations=OperationSettings(
            epochs=30, weight_epochs=15, cells=8, channels=16, batch=64,
            lr=0.025, lr_min=0.001, lr_epochs=70, momentum=0.9, weight_decay=3e-4, clip=5.0,
            arch_lr=3e-4, arch_betas=(0.5, 0.999), arch_weight_decay=1e-3, head_norm=True,
        ),
        topology=TopologySettings(
            epochs=40, weight_epochs=20, weight_half=True, cells=8, channels=16, batch=64,
            lr=0.025, lr_min=0.001, lr_epochs=70, lr_offset=30,
            momentum=0.9, weight_decay=3e-4, clip=5.0,
            arch_lr=3e-4, arch_betas=(0.9, 0.999), arch_weight_decay=1e-3, head_norm=True,
            t_start=10.0, t_end=0.02, anneal="epoch", alpha_ratio=1e-3, normalise=False,
        ),
        train=_cifar_training(),
    )  # fmt: skip


def _cifar_training() -> TrainSettings:
    """Sec. 5.1; the auxiliary head (0.4) and the cutout of 16 pixels are the release's."""
    return TrainSettings(
        epochs=600, cells=20, channels=36, batch=96, lr=0.025, lr_min=0.0,
        momentum=0.9, weight_decay=3e-4, clip=5.0,
        auxiliary=0.4, drop_path=0.2, cutout=16,
    )  # fmt: skip


def paper_imagenet() -> Recipe:
    """ImageNet (Sec. 5.2): search on 10 % and 2.5 % of each class, the mobile training.

    The paper's: 14 cells throughout, 30 + 40 epochs, annealing over all 40. The release's,
    where the paper says 'as PC-DARTS' and gives no number: batch 512 (four times 128), rates
    0.25 and 3e-3, full channels, 20 leading weight-only epochs, a cosine of 30 epochs and
    then the last 40 of one of 70.

    The trained network has 46 channels, as the text says (4.95 M parameters with the cell
    searched on ImageNet); see `paper_imagenet_48`.
    """
    return Recipe(
        preset="paper-imagenet",
        data=DataSettings(image_size=224, weight_fraction=0.1, arch_fraction=0.025, flip=True),
        operations=OperationSettings(
            epochs=30, weight_epochs=20, cells=14, channels=16, batch=512,
            lr=0.25, lr_min=0.001, momentum=0.9, weight_decay=3e-4, clip=5.0,
            stem="imagenet", crop="resized",
            arch_lr=3e-3, arch_betas=(0.9, 0.999), arch_weight_decay=1e-3, arch_clip=5.0,
        ),
        topology=TopologySettings(
            epochs=40, weight_epochs=0, cells=14, channels=16, batch=512,
            lr=0.25, lr_min=0.001, lr_epochs=70, lr_offset=30,
            momentum=0.9, weight_decay=3e-4, clip=5.0, stem="imagenet", crop="resized",
            arch_lr=3e-3, arch_betas=(0.9, 0.999), arch_weight_decay=1e-3,
            t_start=10.0, t_end=0.02, anneal="step", alpha_ratio=1e-3, normalise=True,
        ),
        train=TrainSettings(
            epochs=250, cells=14, channels=46, batch=1024, lr=0.5, lr_min=0.0,
            momentum=0.9, weight_decay=3e-5, clip=5.0, stem="imagenet", crop="resized",
            warmup_epochs=5, schedule="cosine", label_smoothing=0.1, auxiliary=0.4,
            colour_jitter=True,
        ),
    )  # fmt: skip


def paper_imagenet_48() -> Recipe:
    """The same with the network of the paper's Table 3, which has 48 channels.

    With the cell searched on ImageNet 5.348 M parameters and, batch norms counted, 596.2 M
    multiply-adds: the printed 5.3 and 596. 48 is the release's default.
    """
    recipe = paper_imagenet()
    train = recipe.train.model_copy(update={"channels": 48})
    return recipe.model_copy(update={"preset": "paper-imagenet-48", "train": train})


DEFAULT_PRESET = "quick"

PRESETS: Mapping[str, Callable[[], Recipe]] = MappingProxyType(
    {
        "tiny": tiny,
        "quick": quick,
        "small": small,
        "paper-cifar": paper_cifar,
        "paper-imagenet": paper_imagenet,
        "paper-imagenet-48": paper_imagenet_48,
        "paper-release": paper_release,
    }
)


_Section = Mapping[str, Any]

_NETWORK: _Section = MappingProxyType({"cells": 15, "channels": 16})

# The benchmark's own network has three stages of five cells and 16 channels; its topologies
# are all non-empty subsets of a node's edges.
_BENCHMARK: Mapping[str, _Section] = MappingProxyType(
    {
        "operations": _NETWORK,
        "topology": {**_NETWORK, "edges": "any"},
        "halving": {"cells": 0},
        "train": {**_NETWORK, "published_epochs": None},
    }
)
# One cell a stage and half the resolution are enough to search by: the accuracies come from
# a table.
_SMALLER: Mapping[str, Mapping[str, _Section]] = MappingProxyType(
    {
        "tiny": {
            "operations": {"cells": 3, "channels": 4},
            "topology": {"cells": 3, "channels": 4},
            "train": {"cells": 3, "channels": 8},
        },
        # Chosen by cifar100_test with seeds 100-104; see docs/findings.md.
        "quick": {
            "data": {"image_size": 16, "limit": None, "search_limit": 20_000},
            "operations": {
                "cells": 3,
                "epochs": 12,
                "weight_epochs": 6,
                "rating_images": 2_000,
            },
            "topology": {
                "cells": 3,
                "epochs": 8,
                "weight_epochs": 2,
                "alpha_ratio": 0.1,
                "rating_images": 2_000,
            },
        },
        "small": {
            "data": {"image_size": 16},
            "operations": {"cells": 3},
            "topology": {"cells": 3},
        },
    }
)


def fitted(recipe: Recipe, space: str) -> Recipe:
    """The preset `recipe` as it is meant in `space`; unchanged in the DARTS space.

    S2, S3 and S4 have too few operations for groups: one softmax over all, the best is kept.
    """
    if space in ("s2", "s3", "s4"):
        return recipe.model_copy(update={"space": space, "retain": "top1", **_unpublished(recipe)})
    if space != "nasbench201":
        return recipe
    changes = {name: dict(section) for name, section in _BENCHMARK.items()}
    for name, section in _SMALLER.get(recipe.preset, {}).items():
        changes[name] = {**changes.get(name, {}), **section}
    sections = {
        name: getattr(recipe, name).model_copy(update=section) for name, section in changes.items()
    }
    steps = {"space": space, **AS_WRITTEN, **_unpublished(recipe)}
    return recipe.model_copy(update={**steps, **sections})


def _unpublished(recipe: Recipe) -> _Section:
    """The baselines where no published cell is in the space."""
    return {"baselines": tuple(name for name in recipe.baselines if name != "published")}
