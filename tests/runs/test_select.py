"""The setting `select` in whole searches: what is kept is what topology.json says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dots
from dots.recipe import build_recipe
from dots.space.edge_combinations import combinations
from dots.space.genotype import Genotype
from dots.space.search_space import named_space

SPACE = named_space("darts", 2)
WORDS = (
    "nodes=2", "data.limit=240", "operations.cells=2", "topology.cells=2", "operations.epochs=1",
    "operations.weight_epochs=0", "topology.rate=true",
)  # fmt: skip


def searched(tmp_path: Path, *words: str) -> tuple[Genotype, dict[str, Any]]:
    """The cell of a search, and its topology.json."""
    recipe = build_recipe("tiny", overrides=[*WORDS, *words])
    dots.search("digits", recipe, out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "topology.json").read_text())
    return Genotype.load(tmp_path / "run" / "genotype.json"), record


def check(genotype: Genotype, record: dict[str, Any]) -> None:
    """The genotype has the kept edges with their operations."""
    for kind, kept in record["kept_edges"].items():
        expected = [
            [(record["operations"][kind][e], SPACE.cell.edges[e][0]) for e in i if e in kept]
            for i in SPACE.cell.incoming
        ]
        nodes = genotype.cells[kind].nodes
        assert [[(edge.op, edge.source) for edge in node] for node in nodes] == expected


def by_beta(record: dict[str, Any], name: str) -> dict[str, list[int]]:
    """The edges of each node's largest parameter."""
    return {
        kind: [
            incoming[place]
            for incoming, beta in zip(SPACE.cell.incoming, betas, strict=True)
            for place in combinations(len(incoming), "pairs")[beta.index(max(beta))]
        ]
        for kind, betas in record[name].items()
    }


def test_argmax_keeps_the_last_beta_and_average_its_mean(tmp_path: Path) -> None:
    genotype, record = searched(tmp_path / "last")
    check(genotype, record)
    assert record["kept_edges"] == by_beta(record, "beta")
    assert record["beta"] != record["mean_beta"]
    genotype, averaged = searched(tmp_path / "mean", "topology.select=average")
    check(genotype, averaged)
    assert averaged["kept_edges"] == by_beta(record, "mean_beta")
    assert averaged["beta"] == averaged["mean_beta"] == record["mean_beta"]
    assert averaged["supernet_losses"].keys() == record["supernet_losses"].keys()


def test_supernet_keeps_the_least_loss(tmp_path: Path) -> None:
    genotype, record = searched(tmp_path, "topology.select=supernet")
    check(genotype, record)
    for kind, rated in record["supernet_losses"].items():
        assert len(rated) == 3
        best, _ = min(rated, key=lambda entry: entry[1])
        edges = [i[p] for i, kept in zip(SPACE.cell.incoming, best, strict=True) for p in kept]
        # The kinds are chosen one after the other: for the last one the others are as kept.
        if kind == SPACE.kinds[-1]:
            assert record["kept_edges"][kind] == edges


@pytest.mark.parametrize("blank", [False, True])
def test_perturbation_decides_both_and_beta_stays_uniform(tmp_path: Path, blank: bool) -> None:
    words = ["operations.select=perturbation", "topology.select=perturbation", "space=s2"]
    if blank:
        words += ["operations.weight_epochs=1"]
    genotype, record = searched(tmp_path, *words, "retain=top1")
    check(genotype, record)
    assert not any(any(beta) for betas in record["beta"].values() for beta in betas)
    assert all(len(kept) == 4 for kept in record["kept_edges"].values())
    assert all(len(row) == 5 for row in record["edge_importance"].values())
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    stages = {json.loads(row)["stage"] for row in rows}
    assert {"operations-perturbation", "topology-perturbation"} <= stages
    scores = json.loads((tmp_path / "run" / "candidates.json").read_text())["scores"]
    policy = Genotype.load(tmp_path / "run" / "genotype-darts-policy.json")
    for kind, cell in policy.cells.items():
        for node, incoming in zip(cell.nodes, SPACE.cell.incoming, strict=True):
            by_source = {SPACE.cell.edges[e][0]: scores[kind][e] for e in incoming}
            names = ("skip_connect", "sep_conv_3x3")
            for edge in node:
                row = by_source[edge.source]
                assert edge.op == names[row.index(max(row))]
