"""The whole program, top to bottom: operations, topology, halving, training, test, report.

Every stage leaves a file in the run directory and is skipped where the file is there, so a
run that was interrupted goes on where it was, and any stage can start from a file.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.common.records import (
    CANDIDATES,
    EXTENSIONS,
    GENOTYPE,
    GENOTYPES,
    HALVING,
    POLICY_GENOTYPE,
    RANDOM_GENOTYPE,
    SEARCHED_GENOTYPE,
    TEST,
    TRUTH,
    Result,
    TestRecord,
    TopologyRecord,
)
from dots.common.seeding import isolated_random_state, seed_step
from dots.data import Batches
from dots.nas.budget.alternatives import alternatives
from dots.nas.finalists import Finalist, finalists, published
from dots.nas.operation_search import OperationStage
from dots.nas.successive_halving import SuccessiveHalving, halving_record
from dots.nas.topology_search import TopologyStage, new_topology
from dots.networks.saved import save_network
from dots.networks.specification import DARTS, CellTrainee, Network, ReferenceTrainee, Trainee
from dots.recipe.settings import Baseline, StageSettings, TrainSettings
from dots.recipe.shares import baseline_settings
from dots.runs.directory import RunDirectory
from dots.runs.extension import earlier
from dots.runs.finetune import INITIAL, start_from
from dots.runs.restarts import FEWEST_STEPS, MOST, record_restart, restarts, slowed
from dots.runs.samples import sample_pictures
from dots.runs.selection import selected_operations, selected_topology
from dots.runs.session import Session, new_supernet
from dots.runs.truth import Truth
from dots.space.candidates import CandidateFile, read_candidates, to_record
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.retain import retain
from dots.training.chance import chance, unlearned
from dots.training.evaluate import TestResult, evaluate
from dots.training.loop import NonFiniteLossError, Stage
from dots.training.stage import TrainingStage

SEARCHES = ("operations", "topology", "halving")
"""What the names of the stages begin with that search."""


def run_everything(session: Session, given: CandidateFile | None = None) -> dict[str, Any]:
    """The main job: search, train, test; returns the content of result.json."""
    genotype = search(session, given)
    return train_and_test(session, cell_trainee(session, genotype))


def search(session: Session, given: CandidateFile | None = None) -> Genotype:
    """The search stages, or those after the first from given candidates."""
    if session.run.has(GENOTYPE):
        return Genotype.load(session.run.path / GENOTYPE)
    candidates = given or search_operations(session)
    searched = search_topology(session, candidates)
    if session.recipe.halving.on:
        return choose_cell(session, candidates, searched)
    return searched


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
    note_unlearned_search(session, stage, own)
    scores, policy = selected_operations(session, strategy, own)
    kept = retain(space, scores, recipe.retain)
    if session.main:
        save_genotype(session, POLICY_GENOTYPE, policy)
        run.write_record(to_record(space, recipe.strategy, recipe.retain, scores, kept))
    session.processes.barrier()
    return CandidateFile(kept, scores)


def search_topology(session: Session, found: CandidateFile) -> Genotype:
    """Stage 2 (Sec. 4.1): which edges does each node keep?"""
    name = SEARCHED_GENOTYPE if session.recipe.halving.on else GENOTYPE
    if session.run.has(name):
        return Genotype.load(session.run.path / name)
    session.before_stage("topology")
    recipe, run, data = session.recipe, session.run, session.data
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
    note_unlearned_search(session, stage, own)
    record, genotype = selected_topology(session, stage)
    known = None
    if settings.by_beta:
        known = allowance.known(found.candidates, record)
        genotype = allowance.choose(known, genotype)
    if session.main:
        if found.scores is not None and not run.has(POLICY_GENOTYPE):
            save_genotype(session, POLICY_GENOTYPE, derive_darts(session.space, found.scores))
        run.write_record(record)
        if known is not None:
            others = alternatives(known, allowance.tables, allowance.limits, genotype)
            run.write_record(others)
        save_genotype(session, name, genotype)
    session.processes.barrier()
    return genotype


def choose_cell(session: Session, found: CandidateFile, searched: Genotype) -> Genotype:
    """Stage 3: of several cells the one whose network is best on half B is trained."""
    session.before_stage("halving")
    recipe, run, data = session.recipe, session.run, session.data
    policy = Genotype.load(run.path / POLICY_GENOTYPE) if run.has(POLICY_GENOTYPE) else None
    known = None
    if recipe.topology.by_beta:
        known = session.allowance.known(found.candidates, TopologyRecord.read(run.path))
    cells = finalists(
        recipe.halving.cells,
        searched,
        session.allowance,
        policy=policy,
        known=known,
        seed=recipe.seed,
    )
    session.watcher.say(f"halving: {', '.join(cell.origin for cell in cells)}")
    stage = SuccessiveHalving(
        cells,
        recipe.halving,
        recipe.train,
        session.engine(),
        session.batches(data.half_a, recipe.train, "halving"),
        partial(_finalist_network, session),
        partial(classified, session, rows=data.half_b),
        session.watcher.say,
    )
    session.loop.run(stage)
    if session.main:
        run.write_record(halving_record(stage, run.metrics.rows()))
        save_genotype(session, GENOTYPE, stage.winner.genotype)
    session.processes.barrier()
    return stage.winner.genotype


def _finalist_network(session: Session, cell: Finalist) -> Network:
    """The network of a cell as the training makes it, each with the same random numbers."""
    recipe = session.recipe
    with isolated_random_state():
        seed_step(recipe.seed, "halving", "weights")
        trainee = cell_trainee(session, cell.genotype)
        network = trainee.build(auxiliary=recipe.train.auxiliary > 0, fast=recipe.fast_kernels)
    return session.engine().place_network(network)


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
    """Stage 4: a network and its baselines, trained from scratch by one recipe, tested."""
    if isinstance(trainee, CellTrainee) and session.main and not session.run.has(GENOTYPE):
        save_genotype(session, GENOTYPE, trainee.genotype)
    session.before_stage("train")
    train_network(session, trainee, "train", session.recipe.train)
    for name in session.recipe.baselines:
        other = baseline(session, name)
        if other is not None and _can_be_built(session, name, other):
            train_network(session, other, f"train-{name}", baseline_settings(session.recipe, name))
    return write_result(session)


def baseline(session: Session, name: Baseline) -> Trainee | None:
    """What the found cell is compared with by that name; None where the run has no such."""
    run, info = session.run, session.data.info
    match name:
        case "random":
            cell = session.allowance.random_cell(session.recipe.seed)
            if session.main:
                save_genotype(session, RANDOM_GENOTYPE, cell)
        case "darts-policy":
            if not run.has(POLICY_GENOTYPE):
                return None
            cell = Genotype.load(run.path / POLICY_GENOTYPE)
        case "published":
            known = next(published(session.allowance), None)
            if known is None:
                return None
            cell = known.genotype
        case "plain":
            return ReferenceTrainee("plain", len(info.classes), info.channels, info.image_size)
    return cell_trainee(session, cell)


def _can_be_built(session: Session, name: str, trainee: Trainee) -> bool:
    """A search may end in a cell without any connection; that is said, and no run fails of it."""
    try:
        if isinstance(trainee, CellTrainee):
            trainee.genotype.check_buildable()
        else:
            trainee.cost(session.data.info.image_size)
    except UserError as error:
        session.watcher.say(f"the {name} network is not trained: {error}")
        return False
    return True


def train_network(
    session: Session, trainee: Trainee, stage_name: str, settings: TrainSettings
) -> None:
    """Train a network on all training images and test it once, after the last epoch."""
    data, run = session.data, session.run
    if run.has(_test_file(stage_name)):
        return
    everything = torch.arange(len(data.train))
    batches = session.batches(everything, settings, "train")
    network = _trained(session, trainee, batches, stage_name, settings)
    result = classified(session, network.float())
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
    session.processes.barrier()


def _trained(
    session: Session, trainee: Trainee, batches: Batches, stage_name: str, asked: TrainSettings
) -> Network:
    """The trained network; one that did not learn begins again with a smaller learning rate."""
    recipe, run = session.recipe, session.run
    while True:
        attempt = len(restarts(run, stage_name))
        settings = slowed(asked, attempt)
        with isolated_random_state():
            seed_step(recipe.seed, stage_name, "weights")
            network = trainee.build(auxiliary=settings.auxiliary > 0, fast=recipe.fast_kernels)
        if stage_name == "train" and run.has(INITIAL):
            start_from(network, run.path / INITIAL)
        session.engine().place_network(network)
        stage = TrainingStage(network, settings, session.engine(), batches, stage_name)
        last = attempt == MOST or stage.epochs * stage.steps < FEWEST_STEPS
        try:
            session.loop.run(stage, attempt)
            reason = _unlearned(session, stage_name, settings, session.data.train.labels)
        except NonFiniteLossError:
            if last:
                raise
            reason = "its loss was not finite"
        if not reason:
            return network
        begin = f"{stage_name} at a learning rate of {settings.lr:g} did not learn: {reason}"
        if last:
            session.note(f"{begin}; its network is no result")
            return network
        # First the notice: a run that dies before the record comes here again.
        session.note(f"{begin}; it began again at {slowed(asked, attempt + 1).lr:g}")
        if session.main:
            record_restart(run, stage_name, {"lr": settings.lr, "reason": reason})
        session.processes.barrier()


def _unlearned(session: Session, stage_name: str, settings: StageSettings, labels: Tensor) -> str:
    """Why a stage is no better than chance, or "".

    The loss of a search holds more than that of the classes, so its accuracy alone counts.
    """
    rows = [row for row in session.run.metrics.rows() if row["stage"] == stage_name]
    training = settings if isinstance(settings, TrainSettings) else None
    by = chance(
        labels,
        len(session.data.info.classes),
        smoothing=training.label_smoothing if training else 0.0,
        weights=session.engine().class_weights,
        auxiliary=training.auxiliary if training else math.inf,
    )
    return unlearned(rows, len(labels), by)


def note_unlearned_search(session: Session, stage: Stage, rows: Tensor) -> None:
    """Say of a search over these rows of the training images that it did not learn.

    One of few steps is not accused: its accuracy is that of weights which have hardly begun.
    """
    if stage.epochs * stage.steps < FEWEST_STEPS:
        return
    settings = session.recipe.operations
    reason = _unlearned(session, stage.name, settings, session.data.train.labels[rows])
    if reason:
        session.note(
            f"the search of the {stage.name} did not learn: {reason}; "
            "its choice is no better than a random one"
        )


def _test_file(stage_name: str) -> str:
    return stage_name.replace("train", "test", 1) + ".json"


def classified(session: Session, network: Network, *, rows: Tensor | None = None) -> TestResult:
    """Every test image once, or the training images `rows` [N], none of the test's.

    Each process takes a part of every batch.
    """
    images = session.data.test if rows is None else session.data.train
    rows = torch.arange(len(images)) if rows is None else rows
    batches = session.plain_batches(images, rows, session.recipe.train, "test")
    seen = torch.cat([batches.rows(0, step) for step in range(batches.steps)])
    place = torch.zeros(len(images), dtype=torch.int64)
    place[rows] = torch.arange(len(rows))
    return evaluate(
        network,
        batches.epoch(0),
        len(session.data.info.classes),
        gather=lambda table: session.processes.gather(table, place[seen], len(rows)),
    )


def write_result(session: Session) -> dict[str, Any]:
    """Put result.json together from what the stages left."""
    run = session.run
    rows = run.metrics.rows()
    test = run.read_object(TEST) if run.has(TEST) else None
    result = _no_test() if test is None else _outcome(test)
    result |= {name: test[name] for name in ("reference", "skeleton") if test and name in test}
    searched = [row for row in rows if row["stage"].startswith(SEARCHES)]
    judged = sum(row.get("validation_seconds", 0.0) for row in searched)
    result |= {
        "search_seconds": round(_total(searched, "seconds") + judged, 3),
        "search_cpu_seconds": _total(searched, "cpu_seconds"),
        "train_seconds": _total([row for row in rows if row["stage"] == "train"], "seconds"),
        "seed": session.recipe.seed,
        "baselines": {},
        **_origin(run),
        "notices": run.notices(),
    }
    for name in session.recipe.baselines:
        if run.has(f"test-{name}.json"):
            content = run.read_object(f"test-{name}.json")
            trained = [row for row in rows if row["stage"] == f"train-{name}"]
            result["baselines"][name] = {
                **_outcome(content),
                "train_seconds": _total(trained, "seconds"),
                **_network_of(content),
            }
    if run.has(EXTENSIONS):
        result["before_extension"] = earlier(run)
    if run.has(TRUTH):
        result |= run.read_object(TRUTH)
    record = Result.model_validate(result)
    if session.main:
        run.write_record(record)
    return record.to_json()


def _origin(run: RunDirectory) -> dict[str, Any]:
    """Where the cell that won the halving comes from."""
    return {"origin": run.read_object(HALVING).get("winner")} if run.has(HALVING) else {}


def _network_of(content: dict[str, Any]) -> dict[str, Any]:
    """The cell or the reference network that was tested."""
    return {key: content[key] for key in ("genotype", "reference") if key in content}


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
