"""What trials would give, made up in no time, and an executor in this process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from dots.common.errors import UserError
from dots.common.seeding import seed_for
from dots.nas.plan import make_plan
from dots.nas.supernet_rating import SupernetRating, Topology, as_topology
from dots.nas.topology import make_topology
from dots.recipe import recipe_from_json
from dots.recipe.settings import TopologySettings
from dots.space.candidates import to_record
from dots.space.discretise import best_operations, derive_darts, derive_dots
from dots.space.retain import retain
from dots.space.search_space import SearchSpace, named_space
from dots.study.execution.attempts import Outcome, Work, attempt
from dots.study.trial import Json, Trial


class Inline:
    """Runs attempts one after the other, here."""

    capacity = 1

    def __init__(self, work: Work) -> None:
        self.work = work
        self.started: list[str] = []
        self._ended: list[tuple[Trial, Outcome, float]] = []

    def start(self, trial: Trial, folder: Path) -> None:
        self.started.append(trial.name)
        spec = json.loads(json.dumps(trial.spec))  # as it crosses to another process
        self._ended.append((trial, Outcome(**attempt(self.work, spec, str(folder))), 2.0))

    def wait(self, seconds: float) -> list[tuple[Trial, Outcome, float]]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing runs."""


def fabricate(spec: Mapping[str, Any], folder: str) -> Json:
    """A search or a training that depends on its spec alone."""
    recipe = recipe_from_json(spec["recipe"])
    space = named_space(recipe.space, recipe.nodes)
    if spec["kind"] == "train":
        text = json.dumps([spec["genotype"], recipe.seed], sort_keys=True)
        share = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32
        return {
            "test_accuracy": 0.5 + 0.4 * share,
            "test_loss": 1.0,
            "test_images": 100,
            "parameters": 1000 + recipe.seed,
            "multiply_adds": 5000,
            "train_seconds": 10.0,
        }
    make_plan(recipe)
    return _search(spec, space)


def _search(spec: Mapping[str, Any], space: SearchSpace) -> Json:
    recipe = recipe_from_json(spec["recipe"])
    topology_settings = recipe.topology
    generator = torch.Generator().manual_seed(seed_for(recipe.seed, recipe.strategy))
    edges, columns = len(space.cell.edges), len(space.operations)
    draw = {k: torch.rand(edges, columns, generator=generator).tolist() for k in space.kinds}
    policy, given = None, spec["candidates"]
    if given is None:
        kept = retain(space, draw, recipe.retain)
        given = to_record(space, recipe.strategy, recipe.retain, draw, kept).to_json()
        policy = derive_darts(space, draw).to_json()
    candidates = {
        kind: tuple(tuple(names) for names in rows) for kind, rows in given["candidates"].items()
    }
    topology = make_topology(
        space,
        parameterisation=topology_settings.parameterisation,
        edges=topology_settings.edges,
        normalise=True,
        threshold=0.5,
    )
    with torch.no_grad():
        for beta in topology.parameters():
            beta.copy_(torch.randn(beta.shape, generator=generator))
    gates = {kind: [[0.1] * len(names) for names in rows] for kind, rows in candidates.items()}
    kept_edges = topology.kept_edges(1.0)
    return {
        "genotype": derive_dots(space, candidates, gates, kept_edges).to_json(),
        "policy": policy,
        "candidates": given,
        "topology": {
            "version": 1,
            "parameterisation": topology_settings.parameterisation,
            "edges": topology_settings.edges,
            "temperature": topology_settings.t_end,
            "beta": {k: [beta.tolist() for _, beta in topology.nodes(k)] for k in space.kinds},
            "operations": {
                kind: list(ops) for kind, ops in best_operations(space, candidates, gates).items()
            },
            "kept_edges": {kind: list(kept) for kind, kept in kept_edges.items()},
            "mean_beta": {k: [b.tolist() for _, b in topology.nodes(k)] for k in space.kinds},
            **_ratings(space, topology_settings, kept_edges, generator),
        },
        "seconds": {"operations": 0.0 if spec["candidates"] else 20.0, "topology": 30.0},
        "cpu_seconds": {"operations": 0.0 if spec["candidates"] else 20.0, "topology": 30.0},
        "undecided": 0.5,
        "history": [
            {"epoch": epoch, "temperature": heat, "beta": topology.probabilities(heat)}
            for epoch, heat in enumerate((10.0, 1.0))
        ],
    }


def _ratings(
    space: SearchSpace,
    settings: TopologySettings,
    kept: dict[str, tuple[int, ...]],
    generator: torch.Generator,
) -> Json:
    """What `topology.rate` adds: losses that are the number of the topology in the table."""
    if settings.select == "perturbation":
        draw = torch.randn(len(space.cell.edges), generator=generator).tolist()
        return {"edge_importance": dict.fromkeys(space.kinds, draw)}
    if not settings.rate:
        return {}

    class Numbered(SupernetRating):
        def loss(self, topologies: Mapping[str, Topology]) -> float:
            return float(sum(map(hash, topologies.values())) % 1009)

    net: Any = SimpleNamespace(candidates={})
    rating = Numbered(space, net, {}, settings, net, net)
    return {"supernet_losses": rating.table({k: as_topology(space, e) for k, e in kept.items()})}


def fabricate_with_failures(spec: Mapping[str, Any], folder: str) -> Json:
    """The same, but snas never ends well, and no cell trains with seed 1."""
    recipe = spec["recipe"]
    if recipe["strategy"] == "snas":
        raise UserError("the loss is not finite")
    if spec["kind"] == "train" and recipe["seed"] == 1:
        raise UserError("out of luck")
    return fabricate(spec, folder)
