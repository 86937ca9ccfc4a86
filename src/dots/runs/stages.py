"""The whole program, top to bottom: operations, topology, training, test, report.

Every stage leaves a file in the run directory and is skipped where the file is there, so a
run that was interrupted goes on where it was, and any stage can start from a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dots.common.errors import UserError
from dots.common.records import (
    CANDIDATES,
    EXTENSIONS,
    GENOTYPE,
    GENOTYPES,
    POLICY_GENOTYPE,
    RANDOM_GENOTYPE,
    TEST,
    TRUTH,
    Result,
    TestRecord,
)
from dots.common.seeding import isolated_random_state, seed_step
from dots.nas.budget.alternatives import alternatives
from dots.nas.operation_search import OperationStage
from dots.nas.topology_search import TopologyStage, new_topology, topology_record
from dots.networks.saved import save_network
from dots.networks.specification import DARTS, CellTrainee, Network, Trainee
from dots.runs.extension import earlier
from dots.runs.finetune import INITIAL, start_from
from dots.runs.samples import sample_pictures
from dots.runs.session import Session, new_supernet
from dots.runs.truth import Truth
from dots.space.candidates import CandidateFile, read_candidates, to_record
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.retain import retain
from dots.training.evaluate import TestResult, evaluate
from dots.training.processes import barrier, gathered
from dots.training.stage import TrainingStage


def run_everything(session: Session, given: CandidateFile | None = None) -> dict[str, Any]:
    """The main job: search, train, test; returns the content of result.json."""
    genotype = search(session, given)
    return train_and_test(session, cell_trainee(session, genotype))


def search(session: Session, given: CandidateFile | None = None) -> Genotype:
    """Both search stages, or the second alone from given candidates."""
    candidates = given or search_operations(session)
    return search_topology(session, candidates)


def search_operations(session: Session) -> CandidateFile:
    """Stage 1 (Sec. 4.2): which operations does each edge keep?"""
    recipe, run, space = session.recipe, session.run, session.space
    if run.has(CANDIDATES):
        return read_candidates(run.path / CANDIDATES, space, recipe.retain)
    plan = session.plan
    strategy = plan.strategy(session.context(), plan.method)
    settings, data = recipe.operations, session.data
    own = torch.cat([data.half_a, data.half_b]) if strategy.one_level else data.half_a
    held_out = None
    if not strategy.one_level:
        held_out = session.batches(data.half_b, settings, "operations-architecture")
    stage = OperationStage(
        strategy, settings.epochs, session.batches(own, settings, "operations"), held_out
    )
    session.loop.run(stage)
    scores = strategy.scores()
    kept = retain(space, scores, recipe.retain)
    if session.main:
        save_genotype(session, POLICY_GENOTYPE, strategy.derive())
        run.write_record(to_record(space, recipe.strategy, recipe.retain, scores, kept))
    barrier(session.fabric)
    return CandidateFile(kept, scores)


def search_topology(session: Session, found: CandidateFile) -> Genotype:
    """Stage 2 (Sec. 4.1): which edges does each node keep?"""
    if not session.run.has(GENOTYPE):
        session.before_stage("topology")
    recipe, run, data = session.recipe, session.run, session.data
    if run.has(GENOTYPE):
        return Genotype.load(run.path / GENOTYPE)
    settings, allowance = recipe.topology, session.allowance
    allowance.check(found.candidates)
    topology = new_topology(session.space, settings)
    held_out = None
    own = torch.cat([data.half_a, data.half_b])
    if settings.held_out:
        own, held_out = data.half_a, session.batches(data.half_b, settings, "topology-held-out")
    alone = None
    if settings.weight_half:
        alone = session.batches(data.half_a, settings, "topology-weights")
    stage = TopologyStage(
        session.space,
        found.candidates,
        topology,
        new_supernet(session, settings, found.candidates),
        settings,
        session.engine(),
        session.batches(own, settings, "topology"),
        held_out,
        allowance.penalty(),
        alone,
    )
    session.loop.run(stage)
    record = topology_record(stage, settings)
    known = allowance.known(found.candidates, record)
    genotype = allowance.choose(known, stage.genotype())
    if session.main:
        if found.scores is not None and not run.has(POLICY_GENOTYPE):
            save_genotype(session, POLICY_GENOTYPE, derive_darts(session.space, found.scores))
        run.write_record(record)
        if known is not None:
            others = alternatives(known, allowance.tables, allowance.limits, genotype)
            run.write_record(others)
        save_genotype(session, GENOTYPE, genotype)
    barrier(session.fabric)
    return genotype


def record_truth(session: Session, truth: Truth) -> None:
    """Where a benchmark's table has the found cell, and that without topology search."""
    run = session.run
    names = {"truth": GENOTYPE, "truth_without_topology_search": POLICY_GENOTYPE}
    cells = {key: Genotype.load(run.path / name) for key, name in names.items() if run.has(name)}
    if session.main:
        run.write_record(truth.describe(cells))


def save_genotype(session: Session, name: str, genotype: Genotype) -> None:
    """Write a genotype into the run directory."""
    session.run.write_text(name, genotype.to_text())


def cell_trainee(session: Session, genotype: Genotype, skeleton: str = DARTS) -> CellTrainee:
    """The network of a cell at the size that the recipe asks for."""
    return CellTrainee(genotype, session.shape(session.recipe.train), skeleton)


def train_and_test(session: Session, trainee: Trainee) -> dict[str, Any]:
    """Stage 3: a network and its baselines, trained from scratch by one recipe, tested."""
    if isinstance(trainee, CellTrainee) and session.main and not session.run.has(GENOTYPE):
        save_genotype(session, GENOTYPE, trainee.genotype)
    session.before_stage("train")
    train_network(session, trainee, "train")
    for name, cell in baseline_cells(session).items():
        train_network(session, cell_trainee(session, cell), f"train-{name}")
    return write_result(session)


def baseline_cells(session: Session) -> dict[str, Genotype]:
    """The cells that the found one is compared with, by name."""
    cells: dict[str, Genotype] = {}
    run = session.run
    for name in session.recipe.baselines:
        if name == "random":
            cells[name] = session.allowance.random_cell(session.recipe.seed)
            if session.main:
                save_genotype(session, RANDOM_GENOTYPE, cells[name])
        elif run.has(POLICY_GENOTYPE):
            cells[name] = Genotype.load(run.path / POLICY_GENOTYPE)
    return {name: cell for name, cell in cells.items() if _can_be_built(session, name, cell)}


def _can_be_built(session: Session, name: str, cell: Genotype) -> bool:
    """A search may end in a cell without any connection; that is said, and no run fails of it."""
    try:
        cell.check_buildable()
    except UserError as error:
        session.watcher.say(f"the {name} cell is not trained: {error}")
        return False
    return True


def train_network(session: Session, trainee: Trainee, stage_name: str) -> None:
    """Train a network on all training images and test it once, after the last epoch."""
    recipe, data, run = session.recipe, session.data, session.run
    if run.has(_test_file(stage_name)):
        return
    settings = recipe.train
    with isolated_random_state():
        seed_step(recipe.seed, stage_name, "weights")
        network = trainee.build(auxiliary=settings.auxiliary > 0, fast=recipe.fast_kernels)
    if stage_name == "train" and run.has(INITIAL):
        start_from(network, run.path / INITIAL)
    session.engine().place_network(network)
    everything = torch.arange(len(data.train))
    batches = session.batches(everything, settings, "train")
    stage = TrainingStage(network, settings, session.engine(), batches, stage_name)
    session.loop.run(stage)
    result = _test(session, network.float())
    cost = trainee.cost(data.info.image_size)
    content = TestRecord(
        **result.summary(),
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
        **trainee.to_json(),
        classes=data.info.classes,
        confusion=result.confusion,
    ).to_json()
    if session.main:
        if stage_name == "train":
            save_network(run.path, network, data.info)
            pictures = sample_pictures(batches, data, result.mistakes, session)
            run.write_record(pictures)
        run.write_json(_test_file(stage_name), content)  # last: it says that the rest is there
    barrier(session.fabric)


def _test_file(stage_name: str) -> str:
    return stage_name.replace("train", "test", 1) + ".json"


def _test(session: Session, network: Network) -> TestResult:
    """Every test image once; each process takes a part of every batch."""
    count = len(session.data.test)
    settings = session.recipe.train
    batches = session.batches(torch.arange(count), settings, "test", test=True)
    rows = torch.cat([batches.rows(0, step) for step in range(batches.steps)])
    return evaluate(
        network,
        batches.epoch(0),
        len(session.data.info.classes),
        gather=lambda table: gathered(session.fabric, table, rows, count),
    )


def write_result(session: Session) -> dict[str, Any]:
    """Put result.json together from what the stages left."""
    run = session.run
    rows = run.metrics.rows()
    test = run.read_object(TEST) if run.has(TEST) else None
    result = _no_test() if test is None else _outcome(test)
    result |= {name: test[name] for name in ("reference", "skeleton") if test and name in test}
    searched = [row for row in rows if row["stage"] in ("operations", "topology")]
    result |= {
        "search_seconds": _total(searched, "seconds"),
        "search_cpu_seconds": _total(searched, "cpu_seconds"),
        "train_seconds": _total([row for row in rows if row["stage"] == "train"], "seconds"),
        "seed": session.recipe.seed,
        "baselines": {},
        "notices": run.notices(),
    }
    for name in session.recipe.baselines:
        if run.has(f"test-{name}.json"):
            content = run.read_object(f"test-{name}.json")
            trained = [row for row in rows if row["stage"] == f"train-{name}"]
            result["baselines"][name] = {
                **_outcome(content),
                "train_seconds": _total(trained, "seconds"),
                "genotype": content["genotype"],
            }
    if run.has(EXTENSIONS):
        result["before_extension"] = earlier(run)
    if run.has(TRUTH):
        result |= run.read_object(TRUTH)
    record = Result.model_validate(result)
    if session.main:
        run.write_record(record)
    return record.to_json()


_OUTCOME = (
    "test_accuracy",
    "test_top5",
    "balanced_accuracy",
    "test_loss",
    "test_images",
    "parameters",
    "multiply_adds",
)


def _outcome(content: dict[str, Any]) -> dict[str, Any]:
    try:
        return {name: content[name] for name in _OUTCOME}
    except KeyError as error:
        raise UserError(
            f"a test of the run is damaged: it lacks {error}; delete test*.json of the run and "
            "resume: the test is done again"
        ) from None


def _no_test() -> dict[str, Any]:
    return dict.fromkeys(_OUTCOME)


def _total(rows: list[dict[str, Any]], column: str) -> float:
    return round(sum(float(row[column]) for row in rows), 3)


def show_in_tensorboard(session: Session, result: dict[str, Any]) -> None:
    """Add the cells and the recipe to the events; on the main process."""
    from dots.runs.board import write_board

    run = session.run
    cells = {name: Genotype.load(run.path / f) for name, f in GENOTYPES.items() if run.has(f)}
    if session.main:
        write_board(run.path / "tensorboard", session.recipe, cells, result)


def report(session: Session) -> Path | None:
    """Write report.html; on the main process."""
    from dots.report import write_report

    return write_report(session.run.path) if session.main else None
