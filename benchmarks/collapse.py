"""Which methods collapse in S2, S3 and S4? Of what their own cells are made.

    python benchmarks/collapse.py OUT DATA [--spaces s2 s3 s4] [--seeds 0 1 2 3 4]
        [--strategies darts beta-darts ...] [--set NAME=VALUE ...]

For every space, method and seed an operation search, and of the normal cell that the method
derives without a topology search the edges, of eight, that carry nothing learned: skips in S2
and S3, noise in S4. Of a cell that is drawn at random these are four. Collapsed is a cell
with six or more.

What is done lies in OUT, a file for each search: the same command goes on with the others, and
prints the table (Markdown) of all.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from comparing import machine
from dots import search
from dots.common.files import write_json
from dots.common.records import POLICY_GENOTYPE
from dots.recipe import build_recipe
from dots.space.genotype import Genotype
from dots.space.search_space import named_space

SPACES = ("s2", "s3", "s4")
STRATEGIES = ("darts", "darts-minus", "sdarts-rs", "pc-darts", "beta-darts")
LEARNED = "sep_conv_3x3"
COLLAPSED = 6
SEARCH = (
    "data.image_size=16",
    "data.search_limit=2000",
    "operations.epochs=12",
    "operations.weight_epochs=3",
    # No use is made of the topology search.
    "topology.epochs=1",
    "topology.weight_epochs=0",
    "halving.cells=0",
)
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where the searches lie, on which images, and what is set of them."""

    out: Path
    data: str
    settings: tuple[str, ...]

    def measure(self, space: str, strategy: str, seed: int) -> Numbers:
        """Edges of the normal cell that carry nothing learned, and CPU seconds; read or made."""
        path = self.out / space / strategy / f"seed{seed}"
        kept = path.with_suffix(".json")
        if kept.is_file():
            return dict(json.loads(kept.read_text()))
        shutil.rmtree(path, ignore_errors=True)  # a search that was stopped: a minute at most
        chosen = [f"space={space}", f"strategy={strategy}", f"seed={seed}"]
        recipe = build_recipe("quick", None, [*SEARCH, *self.settings, *chosen])
        search(self.data, recipe, out=path)
        found = Genotype.load(path / POLICY_GENOTYPE, named_space(space))
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        seconds = sum(row["cpu_seconds"] for row in rows if row["stage"] == "operations")
        numbers = {"unlearned": unlearned(found), "cpu_seconds": round(seconds, 1)}
        shutil.rmtree(path)
        write_json(kept, numbers)
        return numbers


def unlearned(genotype: Genotype) -> int:
    """Edges of the normal cell whose operation has no weights."""
    nodes = genotype.cells["normal"].nodes
    return sum(edge.op != LEARNED for node in nodes for edge in node)


def line(space: str, strategy: str, seeds: Sequence[Numbers]) -> str:
    """A row of the table."""
    counts = [numbers["unlearned"] for numbers in seeds]
    seconds = mean(numbers["cpu_seconds"] for numbers in seeds)
    collapsed = sum(count >= COLLAPSED for count in counts)
    return (
        f"| {space} | {strategy} | {', '.join(map(str, counts))} | {mean(counts):.1f} | "
        f"{collapsed} of {len(counts)} | {seconds:.0f} |"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Search, and print the table."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("out", type=Path)
    made.add_argument("data")
    made.add_argument("--spaces", nargs="+", choices=SPACES, default=SPACES)
    made.add_argument("--strategies", nargs="+", default=STRATEGIES)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    made.add_argument("--set", action="append", default=[], dest="settings")
    asked = made.parse_args(words)
    print(machine(), flush=True)
    bench = Bench(asked.out, asked.data, tuple(asked.settings))
    asked.out.mkdir(parents=True, exist_ok=True)
    print("| space | method | edges without weights | mean | collapsed | CPU s |")
    print("|---|---|---|---|---|---|", flush=True)
    for space in asked.spaces:
        for strategy in asked.strategies:
            seeds = [bench.measure(space, strategy, seed) for seed in asked.seeds]
            print(line(space, strategy, seeds), flush=True)


if __name__ == "__main__":
    main()
