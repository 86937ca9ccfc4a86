"""The same from Python: search a cell, build its network, run everything."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dots.common.plugins import Given, handed_over
from dots.common.records import GENOTYPE
from dots.data.sources.read import Spec, remembered
from dots.nas.strategies.base import OperationSearch
from dots.networks.body import Shape, Stem
from dots.networks.derived import DerivedNetwork
from dots.recipe import Recipe, build_recipe, changed
from dots.report.notebook import Report, run_html
from dots.runs.launch import Job, Machine, Watcher, begin, execute
from dots.runs.progress import OnEpoch, Shown, Silent, in_notebook
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace


@dataclass(frozen=True)
class Outcome:
    """What a run found: the genotype, the content of result.json, and the run directory."""

    genotype: Genotype
    result: dict[str, Any]
    path: Path

    @property
    def report(self) -> Report:
        """The report, which a notebook shows."""
        return Report(self.path)

    def _repr_html_(self) -> str:
        return run_html(self.path)


def search(
    data: Spec,
    recipe: Recipe | str | None = None,
    *,
    strategy: type[OperationSearch] | str | None = None,
    space: SearchSpace | str | None = None,
    out: str | Path | None = None,
    machine: Machine | None = None,
    progress: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Genotype:
    """Search a cell for `data`: operations (Sec. 4.2), then topology (Sec. 4.1).

    `data` is a name, a path, a dataset or a pair (training, test) of datasets; `recipe` a
    Recipe, the name of a preset, or None for "quick". `strategy` and `space` replace the recipe's:
    by name, or a class and a space of your own. Without `out` the run directory is temporary.
    `progress` prints a line for each epoch; `on_epoch` is called with its row of metrics.jsonl, in
    the main process, and what it raises ends the search. Raises UserError for whatever does not
    fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(out) if out is not None else Path(folder) / "run"
        watcher = _watcher(progress, on_epoch)
        return _do("search", data, recipe, strategy, space, path, machine, watcher).genotype


def run(
    data: Spec,
    recipe: Recipe | str | None = None,
    *,
    strategy: type[OperationSearch] | str | None = None,
    space: SearchSpace | str | None = None,
    out: str | Path | None = None,
    machine: Machine | None = None,
    progress: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Outcome:
    """Search, train, test and report, as `dots run` does; without `out` in runs/NAME-N.

    The arguments are those of `search`.
    """
    path = Path(out) if out is not None else None
    watcher = _watcher(progress, on_epoch)
    return _do("run", data, recipe, strategy, space, path, machine, watcher)


def _watcher(progress: bool, on_epoch: OnEpoch | None) -> Watcher:
    return Shown(in_notebook(), on_epoch) if progress else Silent(on_epoch)


def _do(
    kind: str,
    data: Spec,
    recipe: Recipe | str | None,
    strategy: type[OperationSearch] | str | None,
    space: SearchSpace | str | None,
    out: Path | None,
    machine: Machine | None,
    watcher: Watcher,
) -> Outcome:
    given = Given(
        None if strategy is None or isinstance(strategy, str) else handed_over(strategy),
        None if space is None or isinstance(space, str) else handed_over(space, space.name),
    )
    names = {
        "strategy": given.strategy.name if given.strategy else strategy,
        "space": given.space.name if given.space else space,
    }
    chosen = [f"{name}={value}" for name, value in names.items() if value is not None]
    if isinstance(recipe, Recipe):
        made = changed(recipe, chosen)
    else:
        made = build_recipe(recipe, overrides=chosen)
    job = Job(kind, remembered(data))
    with begin(
        data, made, job, machine=machine or Machine(), watcher=watcher, out=out, given=given
    ) as session:
        result = execute(session, job)
        found = Genotype.load(session.run.path / GENOTYPE, session.plan.space)
        return Outcome(found, result, session.run.path)


def build(
    genotype: Genotype | str | Path,
    *,
    classes: int,
    channels: int = 36,
    cells: int = 20,
    image_channels: int = 3,
    stem: Stem = "cifar",
    auxiliary: bool = False,
) -> nn.Module:
    """The untrained network of a genotype, of a genotype file, or of a cell of the zoo.

    It maps images [B, image_channels, H, W] to logits [B, classes]. The defaults are the
    CIFAR network of the paper (Sec. 5.1). Raises UserError where no network can be built.
    """
    from dots import zoo

    cell = genotype if isinstance(genotype, Genotype) else zoo.resolve(str(genotype))
    shape = Shape(cells, channels, image_channels, classes, stem=stem)
    return DerivedNetwork(cell, shape, auxiliary=auxiliary)
