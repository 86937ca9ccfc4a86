"""What was kept on each edge, and which choices were close, against the files themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dots.report import write_report
from dots.report.close_calls import close_calls
from dots.report.reading import Run, read_run
from dots.report.retained import operations_fixed, retained_tables
from dots.space.genotype import Genotype
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate
from helpers.html_pages import check


def edited(run: Path, **last: Any) -> Run:
    """The run after giving the last row of architecture.jsonl other weights."""
    path = run / "architecture.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for key, kinds in last.items():
        for kind, changes in kinds.items():
            for index, value in changes.items():
                rows[-1][key][kind][index] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_run(run)


def decided(run: Path) -> Run:
    """The run after making every choice of its last epoch a clear one."""
    path = run / "architecture.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for key in ("alpha", "beta"):
        for lists in rows[-1][key].values():
            lists[:] = [
                [float(i == values.index(max(values))) for i in range(len(values))]
                for values in lists
            ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_run(run)


def test_the_table_repeats_candidates_and_genotype(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    candidates = json.loads((run / "candidates.json").read_text())["candidates"]
    genotype = Genotype.load(run / "genotype.json")
    tables = retained_tables(read_run(run))
    assert [table.kind for table in tables] == ["normal", "reduce"]
    for table in tables:
        assert table.groups == ("Group 1", "Group 2")
        assert len(table.edges) == 14
        for edge, names in zip(table.edges, candidates[table.kind], strict=True):
            assert [name for name, _ in edge.kept] == names
        ended = [op for edge in table.edges for op in edge.in_cell]
        cell = genotype.cells[table.kind]
        assert sorted(ended) == sorted(e.op for node in cell.nodes for e in node)
        won = [name for edge in table.edges for name, _ in edge.kept if name in edge.in_cell]
        assert won == ended
    first = tables[0].edges[0]
    assert (first.source, first.target) == ("k−2", "0")
    assert (tables[0].edges[13].source, tables[0].edges[13].target) == ("2", "3")


def test_edges_with_fewer_candidates_leave_the_rest_blank(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="operations"))
    path = run / "candidates.json"
    value = json.loads(path.read_text())
    value["candidates"]["normal"][3] = ["skip_connect"]
    path.write_text(json.dumps(value))
    row = retained_tables(read_run(run))[0].edges[3]
    assert [name for name, _ in row.kept] == ["skip_connect"]
    page = check(write_report(run).read_text())
    assert page.ids["kept"] == 1


def test_operations_are_fixed_from_the_first_epoch_that_stays(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="topology"))
    rows = read_run(run).architecture_rows("topology")
    fixed = operations_fixed(read_run(run), "normal")
    assert fixed is not None
    settled = [all(max(w) >= 0.99 for w in row.alpha["normal"]) for row in rows]
    assert settled == [epoch >= fixed for epoch in range(len(rows))]
    assert operations_fixed(edited(run, alpha={"normal": {4: [0.5, 0.5]}}), "normal") is None


def test_clear_choices_give_no_warning_on_the_topology(tmp_path: Path) -> None:
    said = close_calls(decided(fabricate(tmp_path / "run")))
    assert not [sentence for sentence in said if "undecided" in sentence or "clearly" in sentence]


def test_a_close_node_is_named_with_its_rivals(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    decided(run)
    close = edited(run, beta={"reduce": {2: [0.1, 0.0, 0.52, 0.0, 0.38, 0.0]}})
    (sentence,) = [s for s in close_calls(close) if "undecided" in s]
    assert sentence.startswith(
        "Node 2 of the reduction cell was undecided at the end: inputs {k−2, 1} had 52 %, "
        "inputs {k−1, 1} 38 %"
    )


def test_a_close_pair_of_operations_is_named_by_its_edge(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    decided(run)
    said = close_calls(edited(run, alpha={"normal": {4: [0.55, 0.45], 6: [0.3, 0.7]}}))
    assert any("On edges 5, 7 of the normal cell no operation won clearly" in s for s in said)


def test_an_edge_that_preferred_zero_is_told(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    candidates = json.loads((run / "candidates.json").read_text())
    genotype = Genotype.load(run / "genotype.json")
    source = genotype.cells["normal"].nodes[0][0].source
    candidates["candidates"]["normal"][source] = ["none", "sep_conv_3x3"]
    (run / "candidates.json").write_text(json.dumps(candidates))
    decided(run)
    said = close_calls(edited(run, alpha={"normal": {source: [1.0, 0.0]}}))
    assert any("preferred zero" in s and f" {source + 1}" in s for s in said)


@pytest.mark.parametrize(("value", "near"), [(0.55, True), (0.95, False)])
def test_sigmoid_edges_near_the_threshold(tmp_path: Path, value: float, near: bool) -> None:
    run = fabricate(tmp_path / "run", Plan(parameterisation="sigmoid"))
    nodes = {node: [value] * (2 + node) for node in range(4)}
    said = close_calls(edited(run, beta={"normal": nodes, "reduce": nodes}))
    assert any("close to the threshold" in sentence for sentence in said) == near
