"""Which recipe trains networks best? Accuracy on validation images, never on the test's.

    python benchmarks/recipes.py DATA [--networks plain DOTS_C10 max-pool random-0]
        [--recipe train.lr=0.1 --recipe train.lr=0.05,train.clip=1] [--preset quick]
        [--images image_size=16] [--seeds 100 101] [--validation 0.2] [--out FILE.jsonl]

Every network is trained by the preset with the settings of each --recipe (comma-separated, as
after --set), on all training images but a share of every class, which judges it after the last
epoch. Networks are cells as `dots train` takes them (DOTS_C10, DOTS_C10-dense), reference
networks, random-N, and the cell max-pool: a chain of max pooling with one convolution at its
end, what short searches tend to find. Epochs are those that are written, not fitted to the
number of images.

A line is printed for each as soon as it is done; with --out it is kept there and not done
again. At the end the mean of each recipe over networks and seeds.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from time import process_time
from typing import Any

import torch

from comparing import machine
from dots import zoo
from dots.common.seeding import seed_step
from dots.data import ImageData
from dots.data.open import open_data
from dots.data.splits import stratified
from dots.nas.plan import stage_shape
from dots.nas.random_cell import random_genotype
from dots.networks.reference import find_reference
from dots.networks.specification import CellNetworkSpec, NetworkSpec, ReferenceNetworkSpec
from dots.recipe import Recipe, build_recipe
from dots.recipe.build import changed
from dots.recipe.settings import TrainSettings
from dots.runs.session import RunImages
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import darts_space
from dots.training.engine import Engine
from dots.training.evaluate import evaluate
from dots.training.processes import Processes, start_processes
from dots.training.stage import TrainingStage

KEYS = ("data", "preset", "recipe", "network", "seed")
POOL = "max_pool_3x3"


def max_pool() -> Genotype:
    """Seven max poolings and a convolution, in a chain."""
    nodes = [(Edge(POOL, node), Edge(POOL, node + 1)) for node in range(3)]
    cell = Cell((*nodes, (Edge(POOL, 3), Edge("sep_conv_3x3", 4))), (2, 3, 4, 5))
    return Genotype({"normal": cell, "reduce": cell})


def network_spec(name: str, data: ImageData, settings: TrainSettings, seed: int) -> NetworkSpec:
    """The network called `name` at the size that the settings ask for."""
    info = data.info
    reference = find_reference(name)
    if reference is not None:
        return ReferenceNetworkSpec(reference, len(info.classes), info.channels, info.image_size)
    shape = stage_shape(settings, info)
    if name == "max-pool":
        return CellNetworkSpec(max_pool(), shape)
    if name.startswith("random-"):
        draw = int(name.removeprefix("random-"))
        return CellNetworkSpec(random_genotype(darts_space(), "pairs", seed, draw), shape)
    return CellNetworkSpec(zoo.resolve(name), shape)


def trained(name: str, recipe: Recipe, data: ImageData, processes: Processes) -> dict[str, Any]:
    """One training on half A of the data, judged on half B."""
    settings, seed = recipe.train, recipe.seed
    images = RunImages(data, recipe.data, seed, processes)
    seed_step(seed, "train", "weights")
    network = network_spec(name, data, settings, seed).build(fast=recipe.fast_kernels)
    batches = images.batches("train", "half A", settings)
    stage = TrainingStage(network, settings, Engine(processes), batches)
    began = process_time()
    for epoch in range(settings.epochs):
        stage.set_epoch(epoch)
        for step, pair in enumerate(stage.batches(epoch, 0)):
            seed_step(seed, "train", epoch, step)
            stage.step(epoch, step, pair)
    seconds = process_time() - began
    judged = images.plain_batches(data.train, data.half_b, settings)
    result = evaluate(network, judged.epoch(0), len(data.info.classes))
    return {"accuracy": result.accuracy, "loss": result.loss, "cpu_seconds": round(seconds, 1)}


def split(data: ImageData, validation: float, seed: int) -> ImageData:
    """The same data with a share of the training images as half B, all others as half A."""
    labels = data.train.labels
    draw = torch.Generator().manual_seed(seed)
    held_out = stratified(labels, round(validation * len(labels)), draw)
    return replace(data, half_a=(~held_out).nonzero()[:, 0], half_b=held_out.nonzero()[:, 0])


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each seed, recipe and network; what `--out` holds is not done again."""
    out: Path | None = options.out
    kept = out.read_text().splitlines() if out is not None and out.exists() else []
    done = {tuple(row[key] for key in KEYS): row for row in map(json.loads, kept)}
    processes = start_processes("cpu")
    for seed in options.seeds:
        data: ImageData | None = None
        for text in options.recipe or [""]:
            for name in options.networks:
                key = (options.data, options.preset, text, name, seed)
                if key not in done:
                    words = [word for word in text.split(",") if word]
                    settings = [f"data.{word}" for word in options.images]
                    recipe = build_recipe(options.preset, None, [*words, *settings])
                    recipe = changed(recipe, [f"seed={seed}"])
                    if data is None:
                        opened = open_data(
                            options.data, recipe.data, seed, splits_folder=None, save_split=False
                        )
                        data = split(opened, options.validation, seed)
                    row = dict(zip(KEYS, key, strict=True)) | trained(name, recipe, data, processes)
                    if out is not None:
                        with out.open("a") as file:
                            file.write(json.dumps(row) + "\n")
                    done[key] = row
                yield done[key]


def print_means(found: Sequence[dict[str, Any]]) -> None:
    """The mean of each recipe over networks and seeds."""
    by_recipe = defaultdict(list)
    for row in found:
        by_recipe[row["recipe"]].append(row)
    print("\n| recipe | accuracy | loss | CPU seconds | trainings |\n|---|---|---|---|---|")
    for text, own in by_recipe.items():
        accuracy, loss, seconds = (
            mean(row[key] for row in own) for key in ("accuracy", "loss", "cpu_seconds")
        )
        name = text or "as the preset"
        print(f"| {name} | {accuracy:.2%} | {loss:.3f} | {seconds:.1f} | {len(own)} |")


def main(words: Sequence[str] | None = None) -> None:
    """Train and print."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("data")
    made.add_argument(
        "--networks", nargs="+", default=["plain", "DOTS_C10", "max-pool", "random-0"]
    )
    made.add_argument("--recipe", action="append", help="settings; can be repeated")
    made.add_argument("--images", nargs="*", default=[], help="settings of [data]")
    made.add_argument("--preset", default="quick")
    made.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    made.add_argument("--validation", type=float, default=0.2)
    made.add_argument("--out", type=Path)
    options = made.parse_args(words)
    print(machine(), flush=True)
    found = []
    for row in rows(options):
        found.append(row)
        print(
            f"{row['seed']} {row['recipe'] or 'as the preset'}, {row['network']}: "
            f"{row['accuracy']:.2%}, loss {row['loss']:.3f}, {row['cpu_seconds']} CPU seconds",
            flush=True,
        )
    print_means(found)


if __name__ == "__main__":
    main()
