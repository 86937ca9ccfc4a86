"""The other documents of a run that never was: recipe, data, losses, pictures, results."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.fabricated_plan import Plan


def recipe(plan: Plan) -> dict[str, Any]:
    """A recipe.json."""
    stage = {"cells": 5, "channels": 12, "batch": 64, "lr": 0.05, "clip": 5.0, "stem": "cifar"}
    return {
        "preset": "quick",
        "seed": plan.seed,
        "space": plan.space,
        "nodes": plan.nodes,
        "strategy": "darts",
        "method": {},
        "retain": plan.retain,
        "precision": "32",
        "baselines": list(plan.baselines),
        "data": {"image_size": None, "test_fraction": 0.2, "weight_fraction": 0.5, "flip": None},
        "operations": {**stage, "epochs": plan.epochs[0], "arch_betas": [0.5, 0.999]},
        "topology": {
            **stage,
            "epochs": plan.epochs[1],
            "t_start": 10.0,
            "t_end": 0.02,
            "arch_lr": 0.01,
            "parameterisation": plan.parameterisation,
            "edges": plan.edges,
            "normalise": True,
            "threshold": 0.5,
        },
        "train": {**stage, "epochs": plan.epochs[2], "cutout": 0, "drop_path": 0.1},
    }


def environment(path: Path, plan: Plan) -> dict[str, Any]:
    """An environment.json."""
    return {
        "command": f"dots run {plan.name} --preset quick --seed {plan.seed} --out {path.name}",
        "python": "3.11.7",
        "packages": {"dots-nas": "0.1.0", "torch": "2.14.1"},
        "commit": None,
        "platform": "Linux 6.1",
        "machine": "x86_64",
        "cpus": 2,
        "threads": 2,
    }


def data(plan: Plan) -> dict[str, Any]:
    """A data.json."""
    return {
        "name": plan.name,
        "source": plan.name,
        "classes": list(plan.classes),
        "channels": 3,
        "image_size": plan.image_size,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "flip": False,
        "train_images": 4 * plan.test_images,
        "test_images": plan.test_images,
        "notices": ["3 images have a colour palette: converted to RGB"],
    }


def curve(
    random: np.random.Generator,
    stage: str,
    epochs: int,
    start: float,
    end: float,
    temperature: bool = False,
) -> list[dict[str, Any]]:
    """The metrics of a stage: a loss that falls and an accuracy that rises, with noise."""
    rows = []
    for epoch in range(epochs):
        share = (epoch + 1) / epochs
        loss = start * (end / start) ** share * (1 + 0.04 * random.standard_normal())
        row = {
            "stage": stage,
            "epoch": epoch,
            "seconds": 3.0 + random.random(),
            "loss": loss,
            "accuracy": min(1.0, math.exp(-loss * 0.8)),
            "lr": 0.05 * 0.5 * (1 + math.cos(math.pi * epoch / epochs)),
        }
        if temperature:
            row["temperature"] = 10 * (0.02 / 10) ** (epoch / max(1, epochs - 1))
        elif stage == "operations":
            row["arch_loss"] = loss * 1.1
        rows.append(row)
    return rows


def picture(random: np.random.Generator, size: int) -> str:
    """A small picture as base64 PNG: a soft gradient with a bright blob."""
    grid = np.mgrid[0:size, 0:size] / size
    x, y = random.random(2)
    blob = np.exp(-((grid[0] - x) ** 2 + (grid[1] - y) ** 2) * 18)
    colour = random.random(3)
    image = blob[..., None] * colour + 0.25 * grid[1][..., None]
    buffer = io.BytesIO()
    Image.fromarray((255 * image.clip(0, 1)).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def samples(random: np.random.Generator, plan: Plan) -> dict[str, Any]:
    """A samples.json."""
    names = plan.classes

    def label() -> str:
        return names[int(random.integers(len(names)))]

    return {
        "augmented": [
            {"png": picture(random, plan.image_size), "label": label()} for _ in range(16)
        ],
        "mistakes": [
            {
                "png": picture(random, plan.image_size),
                "label": label(),
                "predicted": label(),
                "confidence": 0.99 - 0.03 * index,
                "index": 17 * index,
            }
            for index in range(12)
        ],
    }


def confusion(random: np.random.Generator, plan: Plan) -> dict[str, Any]:
    """A test.json whose diagonal holds about `accuracy` of the images."""
    count = len(plan.classes)
    matrix = np.zeros((count, count), dtype=int)
    wrong = round((1 - plan.accuracy) * plan.test_images)
    for index in range(plan.test_images):
        true = index % count
        predicted = (true + int(random.integers(1, count))) % count if index < wrong else true
        matrix[true, predicted] += 1
    return {"classes": list(plan.classes), "confusion": matrix.tolist()}


def result(plan: Plan) -> dict[str, Any]:
    """A result.json."""
    many = len(plan.classes) > 5

    def numbers(accuracy: float, parameters: int) -> dict[str, Any]:
        return {
            "test_accuracy": accuracy,
            "test_top5": min(1.0, accuracy + 0.02) if many else None,
            "balanced_accuracy": accuracy - 0.001,
            "test_loss": 0.1,
            "test_images": plan.test_images,
            "parameters": parameters,
            "multiply_adds": parameters * 160,
            "train_seconds": 61.5,
        }

    known = benchmark_table() if plan.truth else {}
    accuracies = {"random": plan.random_accuracy, "darts-policy": plan.accuracy - 0.004}
    accuracies |= plan.other_accuracies
    return {
        **numbers(plan.accuracy, 184_330 + 1000 * plan.seed),
        "search_seconds": 83.2,
        "search_cpu_seconds": 160.4,
        "seed": plan.seed,
        **known,
        **({} if plan.winner is None else {"origin": plan.winner}),
        "baselines": {
            name: numbers(accuracies[name], 201_418 - 30_000 * index)
            for index, name in enumerate(plan.baselines)
        },
    }


def halving(winner: str) -> dict[str, Any]:
    """A halving.json: three cells, two rounds."""
    reached = {winner: [0.91, 0.95], "random-1": [0.92, 0.94]}
    if winner != "searched":
        reached |= {"searched": [0.85]}
    cells = [
        {
            "origin": origin,
            "epochs": 3 * len(accuracies),
            "validation": [{"accuracy": value, "loss": 0.3} for value in accuracies],
            "seconds": 4.5 * len(accuracies),
        }
        for origin, accuracies in reached.items()
    ]
    return {"version": 1, "winner": winner, "cells": cells}


def known_sizes(plan: Plan) -> dict[str, Any]:
    """A sizes.json: two cells near the found one, a reference network far away."""
    found = {"DOTS_C10": 190_000, "DARTS_V2": 170_000, "mobilenet": 3_217_226}
    networks = [
        {
            "name": name,
            "kind": "reference" if name == "mobilenet" else "cell",
            "parameters": parameters,
            "multiply_adds": 160 * parameters,
        }
        for name, parameters in found.items()
    ]
    return {"version": 1, "image_size": plan.image_size, "networks": networks}


def benchmark_table() -> dict[str, Any]:
    """What a search with a table adds to a result.json."""

    def standing(accuracy: float, rank: int) -> dict[str, Any]:
        return {"accuracy": accuracy, "rank": rank, "percentile": 100 * (1 - (rank - 1) / 15625)}

    columns = ("cifar10_test", "cifar100_test", "imagenet16_120_test")
    return {
        "truth": {name: standing(93.72 - 20 * i, 204 + i) for i, name in enumerate(columns)},
        "truth_without_topology_search": {
            name: standing(93.47 - 20 * i, 1447 + i) for i, name in enumerate(columns)
        },
        "truth_best": {
            name: {**standing(94.37 - 20 * i, 1), "cell": "|..|"} for i, name in enumerate(columns)
        },
        "truth_random": {
            name: {"accuracy": 87.06 - 25 * i, "percentile": 22.6} for i, name in enumerate(columns)
        },
    }
