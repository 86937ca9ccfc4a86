"""Where a run stands: stages, time left, and the cell that it is heading for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dots.report.progress import Progress, current_genotype, progress_of
from dots.report.reading import read_run
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.search_space import named_space
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate


def progress(run: Path) -> Progress:
    return progress_of(read_run(run))


def keep_rows(run: Path, stage: str, epochs: int) -> None:
    """Forget all metrics after so many epochs of a stage; every epoch takes four seconds."""
    path = run / "metrics.jsonl"
    kept = []
    for row in map(json.loads, path.read_text().splitlines()):
        if row["stage"] == stage and row["epoch"] >= epochs:
            break
        kept.append(json.dumps(row | {"seconds": 4.0}) + "\n")
    path.write_text("".join(kept))


def test_in_the_middle_of_the_training(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="train", epochs=(3, 4, 10)))
    keep_rows(run, "train", 6)
    state = progress(run)
    assert state.current == "train"
    assert [(stage.name, stage.done, stage.planned) for stage in state.stages] == [
        ("operations", 3, 3),
        ("topology", 4, 4),
        ("train", 6, 10),
        ("train-random", 0, 10),
        ("train-darts-policy", 0, 10),
    ]
    assert state.seconds_left == pytest.approx(4.0 * (4 + 10 + 10))
    assert state.complete
    assert not state.finished
    assert [row.epoch for row in state.epochs] == list(range(6))


def test_stages_that_have_not_begun_are_unknown(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="operations", epochs=(5, 4, 10)))
    keep_rows(run, "operations", 3)
    state = progress(run)
    assert state.current == "operations"
    assert state.seconds_left == pytest.approx(4.0 * 2)
    assert not state.complete


def test_a_search_that_stopped_early_is_over(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="topology", epochs=(5, 4, 10)))
    path = run / "metrics.jsonl"
    rows = map(json.loads, path.read_text().splitlines())
    kept = [row for row in rows if row["stage"] != "operations" or row["epoch"] < 2]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    state = progress(run)
    assert state.stages[0].over
    assert state.stages[0].seconds_left == 0
    assert state.current == "train"


def test_a_finished_run(tmp_path: Path) -> None:
    state = progress(fabricate(tmp_path / "run"))
    assert state.finished
    assert state.current is None
    assert state.seconds_left is None
    assert state.test_accuracy == 0.975


def test_silence_and_stopping(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="topology"))
    assert progress(run).silent_seconds is None
    os.utime(run / "metrics.jsonl", (0, 0))
    assert (progress(run).silent_seconds or 0) > 1e6
    assert not progress(run).stopped
    (run / "lock").write_text('{"pid": 1}')
    assert not progress(run).stopped
    (run / "lock").write_text("")
    assert progress(run).stopped


@pytest.mark.parametrize(
    "plan",
    [
        Plan(until="topology"),
        Plan(until="topology", edges="any", retain="group-v1"),
        Plan(until="topology", edges=3, retain="top2"),
        Plan(until="topology", parameterisation="edges"),
        Plan(until="topology", space="nasbench201"),
    ],
    ids=lambda plan: f"{plan.space}-{plan.edges}-{plan.parameterisation}",
)
def test_the_current_cell_is_the_one_that_is_derived_at_the_end(tmp_path: Path, plan: Plan) -> None:
    run = fabricate(tmp_path / "run", plan)
    found = Genotype.load(run / "genotype.json")
    (run / "genotype.json").unlink()
    assert current_genotype(read_run(run)) == found
    assert progress(run).genotype_title == "cell if the search ended now"


def test_in_the_operation_search_it_is_the_policy_s_cell(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="operations"))
    weights = read_run(run).architecture[-1].alpha
    assert current_genotype(read_run(run)) == derive_darts(named_space("darts"), weights)


def test_before_the_first_epoch_nothing_is_known(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="operations"))
    for name in ("metrics.jsonl", "architecture.jsonl", "candidates.json"):
        (run / name).unlink()
    state = progress(run)
    assert state.genotype is None
    assert state.epochs == ()
    assert state.seconds_left is None
    assert state.current == "operations"
