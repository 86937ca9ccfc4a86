"""Leads that a single step of the optimiser can make, against topology.json itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dots.report.close_calls import close_calls
from dots.report.reading import read_run
from dots.space.genotype import Genotype
from dots.space.search_space import named_space
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate

STEP = 0.02
"""Twice the learning rate of the fabricated recipe."""


def wide(run: Path) -> Any:
    """topology.json after making every lead a large one."""
    record = json.loads((run / "topology.json").read_text())
    for key in ("beta", "alpha"):
        for lists in record[key].values():
            lists[:] = [[float(-index) for index in range(len(values))] for values in lists]
    return record


def thin_leads(run: Path) -> list[str]:
    return [sentence for sentence in close_calls(read_run(run)) if "A single step" in sentence]


def said(run: Path, record: Any) -> list[str]:
    (run / "topology.json").write_text(json.dumps(record))
    return thin_leads(run)


def used_edge(run: Path) -> int:
    """An edge of the normal cell that ended in the found cell."""
    source = Genotype.load(run / "genotype.json").cells["normal"].nodes[1][0].source
    return named_space("darts", None).cell.edges.index((source, 3))


def test_large_leads_are_not_mentioned(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    assert said(run, wide(run)) == []


def test_an_edge_decided_by_a_step_is_named(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    edge = used_edge(run)
    record = wide(run)
    record["alpha"]["normal"][edge] = [0.5, 0.5 + 0.9 * STEP]
    (sentence,) = said(run, record)
    assert sentence.startswith(f"On edge {edge + 1} of the normal cell, α' of the leading")
    record["alpha"]["normal"][edge] = [0.5, 0.5 + 1.1 * STEP]
    assert said(run, record) == []


def test_an_edge_outside_the_cell_does_not_matter(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    cell = Genotype.load(run / "genotype.json").cells["normal"]
    unused = next(
        index
        for index, (source, target) in enumerate(named_space("darts", None).cell.edges)
        if source not in [edge.source for edge in cell.nodes[target - 2]]
    )
    record = wide(run)
    record["alpha"]["normal"][unused] = [0.5, 0.5]
    assert said(run, record) == []


def test_a_node_decided_by_a_step_is_named_with_its_rivals(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    record = wide(run)
    record["beta"]["reduce"][2] = [-1.0, -1.0, 0.51, -1.0, 0.5, -1.0]
    (sentence,) = said(run, record)
    assert sentence.startswith(
        "Node 2 of the reduction cell: β of {k−2, 1} leads that of {k−1, 1} by 0.01."
    )


def test_nothing_is_said_without_the_record(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="operations"))
    assert thin_leads(run) == []
