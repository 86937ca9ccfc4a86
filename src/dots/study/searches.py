"""Search trials, and reading what they gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dots.recipe import Recipe
from dots.space.genotype import Genotype
from dots.space.retain import Scores
from dots.study.base import Results
from dots.study.options import Options
from dots.study.trial import Json, Trial, search_spec


def search_trial(options: Options, recipe: Recipe, candidates: Json | None = None) -> Trial:
    """A search; from given candidates the topology alone. The name tells what is particular.

    Two searches of a study may differ in what the name tells, and in nothing else.
    """
    topology = recipe.topology
    words = [
        "search" if candidates is None else "topology",
        recipe.strategy,
        recipe.retain,
        topology.parameterisation,
        str(topology.edges),
        *(["held-out"] if topology.held_out else []),
        *([topology.select] if topology.select != "argmax" else []),
        f"seed{recipe.seed}",
    ]
    spec = search_spec(options.data, recipe, options.machine, candidates)
    return Trial("-".join(words), spec)


def with_topology(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with settings of the topology search changed."""
    topology = recipe.topology.model_copy(update=changes)
    return recipe.model_copy(update={"topology": topology})


@dataclass(frozen=True)
class Found:
    """What a search trial gave, read; see `dots.study.trial.run_trial`.

    `seconds` and `cpu_seconds` are of (operation search, topology search).
    """

    genotype: Genotype
    policy: Genotype | None
    candidates: Json
    topology: Json
    seconds: tuple[float, float]
    cpu_seconds: tuple[float, float]
    undecided: float | None
    history: list[Json]

    @property
    def scores(self) -> Scores:
        """The strategy's score of every operation, by kind and edge."""
        scores: Scores = self.candidates["scores"]
        return scores


def found_by(trial: Trial, results: Results) -> Found | str | None:
    """What the trial found, or its error, or None while it is still to be done."""
    record = results.get(trial.name)
    if record is None:
        return None
    if record.result is None:
        return f"search: {record.error}"
    result = record.result
    seconds, cpu = result["seconds"], result["cpu_seconds"]
    policy = result["policy"]
    return Found(
        Genotype.from_json(result["genotype"]),
        None if policy is None else Genotype.from_json(policy),
        result["candidates"],
        result["topology"],
        (seconds["operations"], seconds["topology"]),
        (cpu["operations"], cpu["topology"]),
        result["undecided"],
        result.get("history", []),  # trials of earlier versions have none
    )
