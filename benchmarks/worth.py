"""Is a search worth its time? The found cell against what the same minutes buy without one.

    python benchmarks/worth.py OUT --data digits --data signs=/images/signs,image_size=32
        [--seeds 0 1 2 3 4] [--preset quick] [--set NAME=VALUE ...] [--device cpu]
        [--rows found random published plain long long-plain] [--random 3]

For every data set and seed: the cell that a whole run finds and trains; random cells (three, or
as many as --random says), three published ones, and the plain reference network, trained by the
same recipe for as many epochs; and a published cell and the plain network for as many epochs as
take the CPU time of the whole run, searches included, at the pace of their short training. All
cells are in the form in which the run trains them. Each network is tested once, after its last
epoch. With --rows only some of them are made, "found" always. A data set is NAME or NAME=PATH,
with settings of [data] behind commas.

What is done lies in OUT, a file for each network: the same command goes on where it was
stopped, and prints the table (Markdown) of what there is. CPU time is that of all threads.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from dots.common.files import write_json
from dots.data.sources.read import Spec
from dots.nas.plan import trained_form
from dots.nas.random_cell import random_genotype
from dots.recipe import Recipe, build_recipe, recipe_from_json
from dots.recipe.shares import with_epochs
from dots.runs.launch import Job, Machine, begin, execute, resume
from dots.runs.progress import Silent
from dots.space.genotype import Genotype
from dots.space.search_space import named_space
from dots.study.statistics import summarise
from dots.zoo import PUBLISHED, load

DRAWS = (0, 11, 12)
"""Numbers of the random cells: none is drawn by the halving, whose numbers are thousands."""
ROWS = ("found", "random", "published", "plain", "long", "long-plain")
LONG = f"{PUBLISHED[0]}, all the time"
PLAIN = "plain network"
LONG_PLAIN = f"{PLAIN}, all the time"
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Data:
    """A data set: its name here, what `dots run` takes, and settings of [data]."""

    name: str
    spec: str
    settings: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Data:
        """Read NAME[=PATH][,setting=value ...]."""
        first, *settings = text.split(",")
        name, _, path = first.partition("=")
        return cls(name, path or name, tuple(f"data.{setting}" for setting in settings))

    @property
    def source(self) -> Spec:
        return Path(self.spec) if Path(self.spec).exists() else self.spec


@dataclass(frozen=True)
class Bench:
    """One data set with one seed, in a folder of its own."""

    folder: Path
    data: Data
    recipe: Recipe
    machine: Machine
    rows: tuple[str, ...] = ROWS
    draws: tuple[int, ...] = DRAWS

    def measure(self, say: Callable[[str], None]) -> dict[str, Numbers]:
        """The numbers of every network, by name; what is missing is done."""
        found = self._job("found", Job("run", self.data.spec), self.recipe)
        run = json.loads((self.folder / "found/recipe.json").read_text())
        recipe = recipe_from_json(run)  # with the epochs that these images get
        results = {"found": found}
        cells = dict(self._cells())
        for name, genotype in cells.items():
            results[name] = self._train(name, recipe, genotype)
            say(f"{self.folder}: {name} {results[name]['test_accuracy']:.4f}")
        if {"plain", "long-plain"} & set(self.rows):
            results[PLAIN] = self._train(PLAIN, recipe, None)
        for row, name, short in (("long", LONG, PUBLISHED[0]), ("long-plain", LONG_PLAIN, PLAIN)):
            if row not in self.rows:
                continue
            ratio = found["cpu_seconds"] / max(results[short]["cpu_seconds"], 1e-3)
            epochs = max(1, round(recipe.train.epochs * ratio))
            train = with_epochs(recipe.train, epochs)
            longer = recipe.model_copy(update={"train": train})
            results[name] = self._train(name, longer, cells.get(short))
        say(f"{self.folder}: done")
        return results

    def _cells(self) -> Iterator[tuple[str, Genotype]]:
        space = named_space(self.recipe.space, self.recipe.nodes)
        for draw in self.draws if "random" in self.rows else ():
            cell = random_genotype(space, self.recipe.topology.edges, self.recipe.seed, draw)
            yield f"random {draw}", trained_form(self.recipe, cell)
        count = len(PUBLISHED) if "published" in self.rows else int("long" in self.rows)
        for name in PUBLISHED[:count]:
            yield name, trained_form(self.recipe, load(name).genotype)

    def _train(self, name: str, recipe: Recipe, genotype: Genotype | None) -> Numbers:
        reference = "plain" if genotype is None else None
        return self._job(name, Job("train", self.data.spec, reference=reference), recipe, genotype)

    def _job(
        self, name: str, job: Job, recipe: Recipe, genotype: Genotype | None = None
    ) -> Numbers:
        """The numbers of a network: read, or from a run that is begun or continued."""
        path = self.folder / name
        kept = path.with_suffix(".json")
        if kept.is_file():
            return dict(json.loads(kept.read_text()))
        path.parent.mkdir(parents=True, exist_ok=True)
        if (path / "recipe.json").is_file():
            with resume(path, machine=self.machine, watcher=Silent()) as (session, known):
                result = execute(session, known, genotype)
        else:
            with begin(
                self.data.source,
                recipe,
                job,
                machine=self.machine,
                watcher=Silent(),
                out=path,
                genotype=genotype,
            ) as session:
                result = execute(session, job, genotype)
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        wanted = ("test_accuracy", "parameters", "test_images", "notices")
        numbers = {
            **{key: result[key] for key in wanted},
            "origin": result.get("origin"),
            "cpu_seconds": sum(
                row["cpu_seconds"] + row.get("validation_seconds", 0.0) for row in rows
            ),
        }
        write_json(kept, numbers)
        return numbers


def rows_of(results: Numbers) -> dict[str, tuple[float, float, float]]:
    """(accuracy, CPU seconds, parameters) of each row of the table."""

    def row(*names: str, pick: Callable[[Any], float] = mean) -> tuple[float, float, float]:
        chosen = [results[name] for name in names]
        return (
            pick([one["test_accuracy"] for one in chosen]),
            mean(one["cpu_seconds"] for one in chosen),
            mean(one["parameters"] for one in chosen),
        )

    drawn = tuple(name for name in results if name.startswith("random "))
    rows: dict[str, tuple[tuple[str, ...], Callable[[Any], float]]] = {
        "found": (("found",), mean),
        f"random, mean of {len(drawn)}": (drawn, mean),
        "published, best of 3": (PUBLISHED, max),
        LONG: ((LONG,), mean),
        PLAIN: ((PLAIN,), mean),
        LONG_PLAIN: ((LONG_PLAIN,), mean),
    }
    return {
        label: row(*names, pick=pick)
        for label, (names, pick) in rows.items()
        if names and all(name in results for name in names)
    }


def table(name: str, seeds: Sequence[Numbers]) -> Iterator[str]:
    """Markdown: means over the seeds, their spread, and found minus each with its interval."""
    rows = [rows_of(results) for results in seeds]
    yield f"### {name}: {len(rows)} seeds, {seeds[0]['found']['test_images']} test images"
    yield ""
    yield "| network | accuracy % | worst seed | found − it, points | CPU s | parameters |"
    yield "|---|---|---|---|---|---|"
    for label in rows[0]:
        accuracies = [100 * row[label][0] for row in rows]
        own = summarise(accuracies)
        gap = summarise([100 * (row["found"][0] - row[label][0]) for row in rows])
        assert own is not None
        assert gap is not None
        spread = "" if own.deviation is None else f" ± {own.deviation:.2f}"
        interval = "" if gap.low is None else f" ({gap.low:+.2f} to {gap.high:+.2f})"
        against = "" if label == "found" else f"{gap.mean:+.2f}{interval}"
        seconds, parameters = (mean(row[label][column] for row in rows) for column in (1, 2))
        yield (
            f"| {label} | {own.mean:.2f}{spread} | {min(accuracies):.2f} | {against} | "
            f"{seconds:.0f} | {parameters:.0f} |"
        )
    origins = sorted(str(results["found"]["origin"]) for results in seeds)
    yield ""
    yield f"Found cells were: {', '.join(origins)}."
    yield ""


def main(words: list[str] | None = None) -> None:
    """Measure, and print a table for each data set."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("out", type=Path)
    options.add_argument("--data", type=Data.parse, action="append", required=True)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options.add_argument("--preset", default="quick")
    options.add_argument("--set", action="append", default=[], dest="overrides")
    options.add_argument("--device")
    options.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    options.add_argument("--random", type=int, choices=range(1, len(DRAWS) + 1), default=len(DRAWS))
    asked = options.parse_args(words)
    machine = Machine(device=asked.device)
    for data in asked.data:
        results = []
        for seed in asked.seeds:
            overrides = [f"seed={seed}", "baselines=[]", *data.settings, *asked.overrides]
            recipe = build_recipe(asked.preset, None, overrides)
            folder, draws = asked.out / data.name / f"seed{seed}", DRAWS[: asked.random]
            bench = Bench(folder, data, recipe, machine, tuple(asked.rows), draws)
            results.append(bench.measure(lambda line: print(line, flush=True)))
        print("\n".join(table(data.name, results)), flush=True)


if __name__ == "__main__":
    main()
