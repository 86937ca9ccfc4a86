"""Run directories as a real run writes them, made up in milliseconds.

The numbers behave like a search's (softmaxes that drift apart, a temperature that falls,
losses that go down), so that pages made from them look like pages of real runs.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dots import zoo
from dots.genotype import Cell, Edge, Genotype
from dots.space import ZERO, SearchSpace, named_space
from fabricated_alternatives import alternatives

DIGITS = tuple(str(digit) for digit in range(10))
UNTIL = ("operations", "topology", "train", "result")


@dataclass(frozen=True)
class Plan:
    """What kind of run to make up; `until` names the last thing that it did."""

    space: str = "darts"
    nodes: int | None = None
    classes: tuple[str, ...] = DIGITS
    until: str = "result"
    baselines: tuple[str, ...] = ("random", "darts-policy")
    edges: str | int = "pairs"
    parameterisation: str = "combinations"
    retain: str = "group-v2"
    epochs: tuple[int, int, int] = (12, 20, 15)
    seed: int = 0
    accuracy: float = 0.975
    random_accuracy: float = 0.9667
    test_images: int = 360
    image_size: int = 32
    name: str = "digits"
    truth: bool = False

    def reached(self, stage: str) -> bool:
        """Whether the run got as far as `stage`."""
        return UNTIL.index(self.until) >= UNTIL.index(stage)


def fabricate(path: Path, plan: Plan = Plan()) -> Path:
    """Write the files of `plan` into the new directory `path` and return it."""
    path.mkdir(parents=True)
    space = named_space(plan.space, plan.nodes)
    random = np.random.default_rng(plan.seed)
    write(path / "recipe.json", recipe(plan))
    write(path / "environment.json", environment(path, plan))
    write(path / "data.json", data(plan))
    metrics: list[dict[str, Any]] = []
    architecture: list[dict[str, Any]] = []
    metrics += curve(random, "operations", plan.epochs[0], 2.2, 0.5)
    kept, scores = operation_search(random, plan, space, architecture)
    write(
        path / "candidates.json",
        {
            "version": 1,
            "space": plan.space,
            "nodes": space.cell.nodes,
            "strategy": "darts",
            "retain": plan.retain,
            "operations": list(space.operations),
            "scores": scores,
            "candidates": kept,
        },
    )
    if plan.reached("topology"):
        metrics += curve(random, "topology", plan.epochs[1], 2.0, 0.3, temperature=True)
        found, raw = topology_search(random, plan, space, kept, architecture)
        found.save(path / "genotype.json")
        write(path / "topology.json", {**recipe(plan)["topology"], **raw})
        write(path / "alternatives.json", alternatives(np.random.default_rng(plan.seed)))
    if plan.reached("train"):
        for stage in ("train", *(f"train-{name}" for name in plan.baselines)):
            metrics += curve(random, stage, plan.epochs[2], 1.8, 0.05)
        for name in plan.baselines:
            random_cell(random, space).save(path / f"genotype-{name}.json")
        write(path / "samples.json", samples(random, plan))
    if plan.reached("result"):
        write(path / "test.json", confusion(random, plan))
        write(path / "result.json", result(plan))
        write(path / "sizes.json", known_sizes(plan))
    write_lines(path / "metrics.jsonl", metrics)
    write_lines(path / "architecture.jsonl", architecture)
    return path


def only_trained(path: Path, *, cell: str | None = None, reference: str | None = None) -> Path:
    """A run without a search: of a cell of the zoo, a reference network, or its own cell."""
    run = fabricate(path, Plan(epochs=(2, 2, 2)))
    for name in ("candidates.json", "architecture.jsonl", "topology.json", "alternatives.json"):
        (run / name).unlink()
    if cell is not None:
        zoo.load(cell).genotype.save(run / "genotype.json")
    if reference is not None:
        (run / "genotype.json").unlink()
        result = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps(result | {"reference": reference}))
    return run


def write(path: Path, value: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value))


def write_lines(path: Path, rows: Sequence[Any]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


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


def softmax(values: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax along the last axis."""
    shifted = (values - values.max(-1, keepdims=True)) / temperature
    powers = np.exp(shifted)
    return powers / powers.sum(-1, keepdims=True)


def rounded(values: np.ndarray) -> list[Any]:
    """As JSON, with a sensible number of digits."""
    return np.round(values, 5).tolist()


def groups(plan: Plan, space: SearchSpace) -> list[list[int]]:
    """The positions of the operations of each group."""
    if not plan.retain.startswith("group-"):
        return [list(range(len(space.operations)))]
    scheme = space.groups_for(plan.retain.removeprefix("group-"))
    return [[space.operations.index(op) for op in group] for group in scheme]


def operation_search(
    random: np.random.Generator, plan: Plan, space: SearchSpace, rows: list[dict[str, Any]]
) -> tuple[dict[str, list[list[str]]], dict[str, Any]]:
    """Let α drift and keep the best of each group; returns candidates and scores."""
    edges, operations = len(space.cell.edges), len(space.operations)
    aims = {kind: random.normal(0, 0.8, (edges, operations)) for kind in space.kinds}
    partition = groups(plan, space)
    weights: dict[str, np.ndarray] = {}
    for epoch in range(plan.epochs[0]):
        share = (epoch + 1) / plan.epochs[0]
        for kind in space.kinds:
            alpha = aims[kind] * share + 0.05 * random.standard_normal((edges, operations))
            mixed = np.zeros((edges, operations))
            for group in partition:
                mixed[:, group] = softmax(alpha[:, group])
            weights[kind] = mixed
        rows.append(
            {
                "stage": "operations",
                "epoch": epoch,
                "alpha": {kind: rounded(weights[kind]) for kind in space.kinds},
            }
        )
    count = {"top1": 1, "top2": 2}.get(plan.retain, 1)
    kept = {
        kind: [
            [
                space.operations[group[best]]
                for group in partition
                for best in np.argsort(-weights[kind][edge, group])[:count]
            ]
            for edge in range(edges)
        ]
        for kind in space.kinds
    }
    return kept, {kind: rounded(weights[kind]) for kind in space.kinds}


def tables(plan: Plan, space: SearchSpace) -> list[list[tuple[int, ...]]]:
    """For each node what its β stands for, as edge indices."""
    result = []
    for incoming in space.cell.incoming:
        n = len(incoming)
        if plan.parameterisation != "combinations":
            subsets = [(position,) for position in range(n)]
        elif plan.edges == "any":
            subsets = [tuple(e for e in range(n) if code >> e & 1) for code in range(1, 2**n)]
        else:
            size = plan.edges if isinstance(plan.edges, int) else 2
            subsets = list(combinations(range(n), min(size, n)))
        result.append([tuple(incoming[position] for position in subset) for subset in subsets])
    return result


def topology_search(
    random: np.random.Generator,
    plan: Plan,
    space: SearchSpace,
    kept: dict[str, list[list[str]]],
    rows: list[dict[str, Any]],
) -> tuple[Genotype, dict[str, Any]]:
    """Let β drift while T falls; returns the derived genotype, and raw β and α'."""
    epochs = plan.epochs[1]
    lookup = tables(plan, space)
    aims = {k: [random.normal(0, 0.15, len(node)) for node in lookup] for k in space.kinds}
    gates = {k: [random.normal(0, 0.02, len(ops)) for ops in kept[k]] for k in space.kinds}
    raw = {
        key: {k: [rounded(v) for v in of[k]] for k in space.kinds}
        for key, of in (("beta", aims), ("alpha", gates))
    }
    beta: dict[str, list[np.ndarray]] = {}
    alpha: dict[str, list[np.ndarray]] = {}
    for epoch in range(epochs):
        temperature = 10 * (0.02 / 10) ** (epoch / max(1, epochs - 1))
        share = (epoch + 1) / epochs
        gamma: dict[str, list[float]] = {}
        for kind in space.kinds:
            logits = [aim * share + 0.01 * random.standard_normal(len(aim)) for aim in aims[kind]]
            if plan.parameterisation == "sigmoid":
                beta[kind] = [1 / (1 + np.exp(-b / max(temperature, 0.05))) for b in logits]
            else:
                beta[kind] = [softmax(b, temperature) for b in logits]
            alpha[kind] = [softmax(g * share, temperature / 1000) for g in gates[kind]]
            edge_weights = np.zeros(len(space.cell.edges))
            for node, probabilities in zip(lookup, beta[kind], strict=True):
                for subset, p in zip(node, probabilities, strict=True):
                    edge_weights[list(subset)] += p / len(subset)
            gamma[kind] = rounded(edge_weights)
        rows.append(
            {
                "stage": "topology",
                "epoch": epoch,
                "temperature": temperature,
                "alpha": {k: [rounded(a) for a in alpha[k]] for k in space.kinds},
                "beta": {k: [rounded(b) for b in beta[k]] for k in space.kinds},
                "gamma": gamma,
            }
        )
    cells = {}
    for kind in space.kinds:
        nodes = []
        for node, probabilities in zip(lookup, beta[kind], strict=True):
            if plan.parameterisation == "combinations":
                chosen = node[int(np.argmax(probabilities))]
            else:
                best = sorted(np.argsort(-probabilities)[:2])
                chosen = tuple(node[index][0] for index in best)
            nodes.append(tuple(_edge(space, kept[kind], alpha[kind], edge) for edge in chosen))
        cells[kind] = Cell(tuple(nodes), space.cell.concat)
    return Genotype(cells, plan.space), raw


def _edge(space: SearchSpace, kept: list[list[str]], alpha: list[np.ndarray], edge: int) -> Edge:
    ordered = [kept[edge][index] for index in np.argsort(-alpha[edge])]
    op = next((op for op in ordered if op != ZERO), "skip_connect")
    return Edge(op, space.cell.edges[edge][0])


def random_cell(random: np.random.Generator, space: SearchSpace) -> Genotype:
    """Two random edges a node, random operations."""
    operations = [op for op in space.operations if op != ZERO]
    cells = {}
    for kind in space.kinds:
        nodes = []
        for incoming in space.cell.incoming:
            chosen = random.choice(len(incoming), min(2, len(incoming)), replace=False)
            nodes.append(
                tuple(
                    Edge(str(random.choice(operations)), space.cell.edges[incoming[index]][0])
                    for index in sorted(chosen)
                )
            )
        cells[kind] = Cell(tuple(nodes), space.cell.concat)
    return Genotype(cells, space.name)


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
    return {
        **numbers(plan.accuracy, 184_330 + 1000 * plan.seed),
        "search_seconds": 83.2,
        "search_cpu_seconds": 160.4,
        "seed": plan.seed,
        **known,
        "baselines": {
            name: numbers(accuracies[name], 201_418 - 30_000 * index)
            for index, name in enumerate(plan.baselines)
        },
    }


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
