"""Table 2: each strategy without and with topology search, from the same operation search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from dots.common.errors import UserError
from dots.nas.plan import make_plan
from dots.nas.random_cell import random_genotype
from dots.nas.strategies import find_strategy
from dots.recipe import Recipe
from dots.space.discretise import derive_all_edges, derive_top_edges
from dots.space.genotype import Genotype
from dots.study import lines
from dots.study.base import Results
from dots.study.cells import Cell, CellStudy
from dots.study.lines import Line, Row
from dots.study.searches import Found, found_by, search_trial
from dots.study.trial import Trial

RANDOM = "random cell"
WITH = "topology search"
POLICY = "own rule"
ALL_EDGES = "best operation on every edge"
TWO_EDGES = "two-edge rule"


class PlugIn(CellStudy):
    """Without topology search a strategy's cell follows the rule of its publication.

    In NAS-Bench-201 that is the benchmark's, the best operation ("none" included) on every
    edge, and the DARTS rule, two edges for each node, gets a row of its own. The last row is
    a random cell for each seed.
    """

    name: ClassVar[str] = "plug-in"
    title: ClassVar[str] = "Operation-search methods without and with topology search (TS)"
    keys: ClassVar[tuple[str, ...]] = ("strategy", "variant", "topology_search")

    def check(self) -> None:
        """Also: unknown strategies, and settings with which no strategy at all can start."""
        super().check()
        errors = []
        known: set[str] = set()
        for name in self.options.strategies:
            known |= set(find_strategy(name).Settings.model_fields)
            try:
                make_plan(self._recipe(name, 0))
            except UserError as error:
                errors.append(error)
        for setting in self.options.recipe.method:
            if setting not in known:
                raise UserError(f"none of the strategies has a setting 'method.{setting}'")
        if errors and len(errors) == len(self.options.strategies):
            raise errors[0]

    def _recipe(self, strategy: str, seed: int) -> Recipe:
        """A strategy gets those of the settings `method.NAME` that it has."""
        own = find_strategy(strategy).Settings.model_fields
        method = {k: v for k, v in self.options.recipe.method.items() if k in own}
        return self.options.seeded(seed, strategy=strategy, method=method)

    def _search(self, strategy: str, seed: int) -> Trial:
        return search_trial(self.options, self._recipe(strategy, seed))

    def searches(self, results: Results) -> list[Trial]:
        return [
            self._search(name, seed)
            for seed in self.options.seeds
            for name in self.options.strategies
        ]

    def expected(self) -> int:
        searches = len(self.options.strategies) * len(self.options.seeds)
        if self.options.truth is not None:
            return searches
        return searches * (1 + len(self._variants())) + len(self.options.seeds)

    def _variants(self) -> tuple[str, ...]:
        if self.options.space.policy_edges is None:
            return (ALL_EDGES, TWO_EDGES, WITH)
        return (POLICY, WITH)

    def cells(self, results: Results) -> list[Cell]:
        cells = []
        for name in self.options.strategies:
            for variant in self._variants():
                for seed in self.options.seeds:
                    found = found_by(self._search(name, seed), results)
                    if found is not None:
                        cells.append(self._cell(name, variant, seed, found))
        edges = self.options.recipe.topology.edges
        labels = {"strategy": RANDOM, "variant": None, "topology_search": None}
        return cells + [
            Cell(labels, seed, random_genotype(self.options.space, edges, seed))
            for seed in self.options.seeds
        ]

    def _cell(self, name: str, variant: str, seed: int, found: Found | str) -> Cell:
        searched = variant == WITH
        labels = {"strategy": name, "variant": variant, "topology_search": searched}
        search = self._search(name, seed).name
        if isinstance(found, str):
            return Cell(labels, seed, None, found, search=search)
        stages = 2 if searched else 1
        return Cell(
            labels,
            seed,
            self._derived(variant, found),
            seconds=sum(found.seconds[:stages]),
            cpu_seconds=sum(found.cpu_seconds[:stages]),
            undecided=found.undecided if searched else None,
            search=search,
        )

    def _derived(self, variant: str, found: Found) -> Genotype:
        space = self.options.space
        if variant == ALL_EDGES:
            return derive_all_edges(space, found.scores)
        if variant == TWO_EDGES:
            return derive_top_edges(space, found.scores, 2)
        if variant == POLICY:
            assert found.policy is not None  # an operation search always leaves one
            return found.policy
        return found.genotype

    def comparisons(self, rows: Sequence[Row]) -> list[Line]:
        """With topology search against each way without, from the same operation search."""
        compared = []
        without = [variant for variant in self._variants() if variant != WITH]
        for variant in without:
            means = []
            for name in self.options.strategies:
                first = {"strategy": name, "variant": WITH}
                pairs = lines.paired(rows, first, {"strategy": name, "variant": variant})
                if pairs:
                    compared.append(lines.comparison(f"{name}: {WITH} − {variant}", pairs))
                    if name != "random":
                        one, other = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
                        means.append((one, other))
            if len(means) > 1:
                label = f"mean over {len(means)} strategies but random: {WITH} − {variant}"
                compared.append(lines.comparison(label, means))
        return compared

    def opening(self) -> str:
        retain = self.options.recipe.retain
        return (
            "Both ways of a strategy and seed start from the same operation search, whose time "
            f"alone counts without topology search (TS). The TS chose among what {retain} "
            "retained on each edge. Random cells: a uniformly random choice of edges and of "
            "operations other than none. Skips and edges are counted in the normal cell. Where a "
            "difference is a mean over strategies, its spread is that of the strategies."
        )
