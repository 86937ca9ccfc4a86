"""Tables 4a and 4b: how the topology is parameterised, and what operations are retained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from dots.space.retain import RETAIN_SCHEMES, retained_count
from dots.study import lines
from dots.study.base import Results
from dots.study.cells import Cell, CellStudy
from dots.study.lines import Line, Row
from dots.study.searches import Found, found_by, search_trial, with_topology
from dots.study.trial import Trial

TOPOLOGIES = {
    "PC-DARTS edge weights, 2 edges": {"parameterisation": "edges", "edges": "pairs"},
    "combinations, 2 edges": {"parameterisation": "combinations", "edges": "pairs"},
    "edge-level sigmoid, any edges": {"parameterisation": "sigmoid", "edges": "pairs"},
    "combinations, any edges": {"parameterisation": "combinations", "edges": "any"},
}
"""Table 4a; the sigmoid's threshold decides the number of edges, whatever `edges` says."""
BASE = "combinations, 2 edges"
A, B = "4a topology", "4b operations"


class Ablation(CellStudy):
    """Variants of one part at a time.

    4a starts four topology searches from the operations of one search, retained as the
    recipe says. 4b searches operations anew for each way of retaining them; its topology
    search is the recipe's. The cost of a variant is that of both its stages.
    """

    name: ClassVar[str] = "ablation"
    title: ClassVar[str] = "Ablations: topology parameterisation (4a), retained operations (4b)"
    keys: ClassVar[tuple[str, ...]] = ("part", "variant", "retained")

    def check(self) -> None:
        super().check()
        self.options.check_strategy()

    def _base(self, seed: int) -> Trial:
        recipe = with_topology(self.options.seeded(seed), **TOPOLOGIES[BASE])
        return search_trial(self.options, recipe)

    def _topology(self, variant: str, seed: int, base: Found) -> Trial:
        recipe = with_topology(self.options.seeded(seed), **TOPOLOGIES[variant])
        return search_trial(self.options, recipe, base.candidates)

    def _retaining(self, scheme: str, seed: int) -> Trial:
        return search_trial(self.options, self.options.seeded(seed, retain=scheme))

    def searches(self, results: Results) -> list[Trial]:
        trials = []
        for seed in self.options.seeds:
            trials.append(self._base(seed))
            trials += [self._retaining(scheme, seed) for scheme in RETAIN_SCHEMES]
            base = found_by(self._base(seed), results)
            if isinstance(base, Found):
                trials += [self._topology(v, seed, base) for v in TOPOLOGIES if v != BASE]
        return trials

    def expected(self) -> int:
        searches = len(self.options.seeds) * (len(TOPOLOGIES) + len(RETAIN_SCHEMES))
        return searches if self.options.truth else 2 * searches

    def cells(self, results: Results) -> list[Cell]:
        cells = []
        for variant in TOPOLOGIES:
            cells += [self._cell_4a(variant, seed, results) for seed in self.options.seeds]
        for scheme in RETAIN_SCHEMES:
            for seed in self.options.seeds:
                found = found_by(self._retaining(scheme, seed), results)
                search = self._retaining(scheme, seed).name
                cells.append(self._cell(B, scheme, scheme, seed, found, search))
        return [cell for cell in cells if cell is not None]

    def _cell_4a(self, variant: str, seed: int, results: Results) -> Cell | None:
        retain, trial = self.options.recipe.retain, self._base(seed)
        base = found_by(trial, results)
        if variant == BASE or not isinstance(base, Found):
            return self._cell(A, variant, retain, seed, base, trial.name)
        trial = self._topology(variant, seed, base)
        found = found_by(trial, results)
        return self._cell(A, variant, retain, seed, found, trial.name, base)

    def _cell(
        self,
        part: str,
        variant: str,
        scheme: str,
        seed: int,
        found: Found | str | None,
        search: str,
        base: Found | None = None,
    ) -> Cell | None:
        """A row; the operation search of `base` counts where `found` had none of its own."""
        if found is None:
            return None
        labels = {
            "part": part,
            "variant": variant,
            "retained": retained_count(self.options.space, scheme),
            "strategy": self.options.recipe.strategy,
            "topology_search": True,
        }
        if isinstance(found, str):
            return Cell(labels, seed, None, found, search=search)
        first = base or found
        return Cell(
            labels,
            seed,
            found.genotype,
            seconds=first.seconds[0] + found.seconds[1],
            cpu_seconds=first.cpu_seconds[0] + found.cpu_seconds[1],
            undecided=found.undecided,
            search=search,
        )

    def comparisons(self, rows: Sequence[Row]) -> list[Line]:
        """4a against combinations of two edges, 4b against group-v2, seed by seed."""
        compared = []
        for part, variants, base in (
            (A, TOPOLOGIES, BASE),
            (B, RETAIN_SCHEMES, "group-v2"),
        ):
            for variant in variants:
                first, second = {"part": part, "variant": variant}, {"part": part, "variant": base}
                pairs = lines.paired(rows, first, second)
                if variant != base and pairs:
                    compared.append(lines.comparison(f"{part}: {variant} − {base}", pairs))
        return compared

    def opening(self) -> str:
        recipe = self.options.recipe
        return (
            f"Strategy {recipe.strategy}. 4a: four topology searches from the operations of one "
            f"search ({recipe.retain}). 4b: a search for each way of retaining operations, then "
            f"the recipe's topology search ({recipe.topology.parameterisation}, "
            f"{recipe.topology.edges}). 'retained' counts the operations of an edge; "
            "search time is of both stages. A space that lacks a scheme's groups has an "
            "error in its row."
        )
