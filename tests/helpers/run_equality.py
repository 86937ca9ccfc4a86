"""Whether two run directories hold the same run, times and what names the place aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from dots.runs.checkpoints import Checkpoints

TIMES = (
    "seconds", "cpu_seconds", "validation_seconds", "search_seconds", "search_cpu_seconds",
    "train_seconds",
)  # fmt: skip
FILES = (
    "candidates.json", "genotype.json", "genotype-darts-policy.json", "genotype-random.json",
    "topology.json", "result.json", "test.json", "test-random.json", "samples.json",
    "recipe.json", "splits.json", "network.json", "data.json", "job.json",
)  # fmt: skip
STAGES = ("operations", "topology", "train", "train-random")


def without_times(value: Any) -> Any:
    """The value without what is never the same twice."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def differing(one: Path, other: Path) -> list[str]:
    """What differs: names of files, and places in the newest state of each stage."""
    found = []
    for name in FILES:
        values = [json.loads((run / name).read_text()) for run in (one, other)]
        if without_times(values[0]) != without_times(values[1]):
            found.append(name)
    for name in ("metrics.jsonl", "architecture.jsonl"):
        rows = [
            [without_times(json.loads(line)) for line in (run / name).read_text().splitlines()]
            for run in (one, other)
        ]
        if rows[0] != rows[1]:
            found.append(name)
    weights = [(run / "weights.safetensors").read_bytes() for run in (one, other)]
    if weights[0] != weights[1]:
        found.append("weights.safetensors")
    for stage in STAGES:
        states = [Checkpoints(run / "checkpoints").newest(stage) for run in (one, other)]
        assert states[0] is not None
        assert states[1] is not None
        assert states[0][0] == states[1][0]
        found += _unequal(states[0][1], states[1][1], stage)
    return found


def _unequal(one: Any, other: Any, where: str) -> list[str]:
    if type(one) is not type(other):
        return [where]
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [where]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [where]
        keys = [key for key in one if key not in TIMES]
        return [name for key in keys for name in _unequal(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list | tuple):
        pairs = enumerate(zip(one, other, strict=True))
        return [name for i, pair in pairs for name in _unequal(*pair, f"{where}.{i}")]
    return [] if one == other else [where]
