"""What a finished job prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dots.common.records import GENOTYPE
from dots.common.text import plain, plain_lines

if TYPE_CHECKING:
    from dots.runs.session import Session


def print_outcome(session: Session, result: dict[str, Any], *, dry: bool = False) -> None:
    """The result on standard output: a few lines for people."""
    path = session.run.path
    if dry:
        print("dry run: one batch went through every stage, the report included")
        return
    if session.run.has(GENOTYPE):
        from dots.space.genotype import Genotype

        print(plain_lines(Genotype.load(path / GENOTYPE, session.plan.space).describe()))
    if result["test_accuracy"] is not None:
        if "origin" in result:
            print(
                f"the found cell is {result['origin']}: the best on half B of those that competed"
            )
        print(plain(_line(result.get("reference", "found cell"), result)))
        for name, baseline in result["baselines"].items():
            what = "network" if "reference" in baseline else "cell"
            print(plain(_line(f"{name} {what}", baseline)))
    for line in _truth_lines(result):
        print(plain(line))
    print(f"search {result['search_seconds']:.1f} s, training {result['train_seconds']:.1f} s")
    if session.run.has(GENOTYPE):
        print(plain(f"genotype: {path / GENOTYPE}"))
    elif "reference" not in result:
        print(plain(f"candidates: {path / 'candidates.json'}"))
    print(plain(f"report:   {path / 'report.html'}"))


def _truth_lines(result: dict[str, Any]) -> Iterator[str]:
    for key, name in (
        ("truth", "found cell"),
        ("truth_without_topology_search", "without topology search"),
        ("truth_random", "average random cell"),
        ("truth_best", "best cell"),
    ):
        for column, standing in (result.get(key) or {}).items():
            text = f"{name:<24} {column} {standing['accuracy']:.2f} %"
            if "rank" in standing:
                text += f", rank {standing['rank']}, percentile {standing['percentile']:.2f}"
            yield text


def _line(name: str, outcome: dict[str, Any]) -> str:
    text = f"{name:<18} test accuracy {100 * outcome['test_accuracy']:.2f} %"
    if outcome["test_top5"] is not None:
        text += f", top-5 {100 * outcome['test_top5']:.2f} %"
    text += f", balanced {100 * outcome['balanced_accuracy']:.2f} %"
    millions = outcome["parameters"] / 1e6
    return (
        text
        + f", {millions:.3f} M parameters, {outcome['multiply_adds'] / 1e6:.1f} M multiply-adds"
    )
