"""Run directories as a real run writes them, made up in milliseconds.

The numbers behave like a search's (softmaxes that drift apart, a temperature that falls,
losses that go down), so that pages made from them look like pages of real runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dots import zoo
from dots.space.search_space import named_space
from helpers.fabricated_alternatives import alternatives
from helpers.fabricated_documents import (
    confusion,
    curve,
    data,
    environment,
    halving,
    known_sizes,
    recipe,
    result,
    samples,
)
from helpers.fabricated_plan import Plan
from helpers.fabricated_search import operation_search, random_cell, topology_search


def fabricate(path: Path, plan: Plan | None = None) -> Path:
    """Write the files of `plan` (default: `Plan()`) into the new directory `path`; return it."""
    plan = plan or Plan()
    path.mkdir(parents=True)
    space = named_space(plan.space, plan.nodes)
    random = np.random.default_rng(plan.seed)
    write(path / "recipe.json", recipe(plan))
    write(path / "environment.json", environment(path, plan))
    write(path / "data.json", data(plan))
    write(path / "notices.json", ["train was compiled in part"])
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
        if plan.winner is not None:
            metrics += curve(random, "halving", 15, 2.0, 0.3)
            write(path / "halving.json", halving(plan.winner))
            random_cell(random, space).save(path / "genotype-searched.json")
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
