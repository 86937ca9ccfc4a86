"""The whole program, top to bottom: operations, topology, training, test.

Every stage leaves a file in the run directory and is skipped where the file is there, so a
run that was interrupted goes on where it was, and any stage can start from a file.
"""

from __future__ import annotations

import torch

from dots.common.errors import UserError
from dots.nas.budget.alternatives import alternatives
from dots.nas.plan import Plan, stage_shape
from dots.nas.topology_search import topology_record
from dots.networks.saved import save_network
from dots.networks.specification import CellTrainee, Network, Trainee
from dots.runs import builders
from dots.runs.further_training import INITIAL, start_from
from dots.runs.limits import cut_to_time
from dots.runs.result import sample_pictures
from dots.runs.session import RunImages, Session
from dots.space.candidates import CandidateFile, read_candidates, to_json
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.retain import retain
from dots.training.evaluate import TestResult, evaluate
from dots.training.processes import Processes

ALTERNATIVES = "alternatives.json"
CANDIDATES = "candidates.json"
GENOTYPE = "genotype.json"
POLICY_GENOTYPE = "genotype-darts-policy.json"
RANDOM_GENOTYPE = "genotype-random.json"
TOPOLOGY = "topology.json"


def run_everything(session: Session, given: CandidateFile | None = None) -> None:
    """The main job: search, train, test."""
    genotype = search(session, given)
    shape = stage_shape(session.plan.recipe.train, session.images.info)
    train_and_test(session, CellTrainee(genotype, shape))


def search(session: Session, given: CandidateFile | None = None) -> Genotype:
    """Both search stages, or the second alone from given candidates."""
    return search_topology(session, given or search_operations(session))


def search_operations(session: Session) -> CandidateFile:
    """Stage 1 (Sec. 4.2): which operations does each edge keep?"""
    plan, run = session.plan, session.run
    recipe, space = plan.recipe, plan.space
    if run.has(CANDIDATES):
        return read_candidates(run.path / CANDIDATES, space, recipe.retain)
    images, penalty = session.images, session.allowance.penalty()
    stage = builders.operation_stage(plan, images.info, session.engine, images.batches, penalty)
    session.loop.run(stage)
    scores = stage.strategy.scores()
    candidates = retain(space, scores, recipe.retain)
    run.write_text(POLICY_GENOTYPE, stage.strategy.derive().to_text())
    run.write_json(CANDIDATES, to_json(space, recipe.strategy, recipe.retain, scores, candidates))
    session.processes.barrier()
    return CandidateFile(candidates, scores)


def search_topology(session: Session, retained: CandidateFile) -> Genotype:
    """Stage 2 (Sec. 4.1): which edges does each node keep?"""
    run, images, allowance = session.run, session.images, session.allowance
    if run.has(GENOTYPE):
        return Genotype.load(run.path / GENOTYPE)
    plan = cut_to_time(session.plan, run, session.processes, session.watcher, "topology")
    candidates = retained.candidates
    allowance.check(candidates)
    stage = builders.topology_stage(
        plan, images.info, session.engine, candidates, images.batches, allowance.penalty()
    )
    session.loop.run(stage)
    record = topology_record(stage, plan.recipe.topology)
    known = allowance.known(candidates, record)
    genotype = allowance.choose(known, stage.genotype())
    if retained.scores is not None and not run.has(POLICY_GENOTYPE):
        run.write_text(POLICY_GENOTYPE, derive_darts(plan.space, retained.scores).to_text())
    run.write_json(TOPOLOGY, record)
    if known is not None and run.writes:
        others = alternatives(known, allowance.tables, allowance.limits, genotype)
        run.write_json(ALTERNATIVES, others)
    run.write_text(GENOTYPE, genotype.to_text())
    session.processes.barrier()
    return genotype


def train_and_test(session: Session, trainee: Trainee) -> None:
    """Stage 3: a network and its baselines, trained from scratch by one recipe, tested."""
    if isinstance(trainee, CellTrainee) and not session.run.has(GENOTYPE):
        session.run.write_text(GENOTYPE, trainee.genotype.to_text())
    plan = cut_to_time(session.plan, session.run, session.processes, session.watcher, "train")
    train_network(session, plan, trainee, "train")
    shape = stage_shape(plan.recipe.train, session.images.info)
    for name, cell in baseline_cells(session, plan).items():
        try:
            cell.check_buildable()
        except UserError as error:  # a search may end in a cell without any connection
            session.watcher.say(f"the {name} cell is not trained: {error}")
        else:
            train_network(session, plan, CellTrainee(cell, shape), f"train-{name}")


def baseline_cells(session: Session, plan: Plan) -> dict[str, Genotype]:
    """The cells that the found one is compared with, by name."""
    cells: dict[str, Genotype] = {}
    run = session.run
    for name in plan.recipe.baselines:
        if name == "random":
            cells[name] = session.allowance.random_cell(plan.recipe.seed)
            run.write_text(RANDOM_GENOTYPE, cells[name].to_text())
        elif run.has(POLICY_GENOTYPE):
            cells[name] = Genotype.load(run.path / POLICY_GENOTYPE)
    return cells


def train_network(session: Session, plan: Plan, trainee: Trainee, stage_name: str) -> None:
    """Train a network on all training images and test it once, after the last epoch."""
    run, images = session.run, session.images
    test_file = stage_name.replace("train", "test", 1) + ".json"
    if run.has(test_file):
        return
    network = builders.new_network(plan, trainee, stage_name)
    if stage_name == "train" and run.has(INITIAL):
        start_from(network, run.path / INITIAL)
    stage = builders.training_stage(plan, session.engine, network, images.batches, stage_name)
    session.loop.run(stage)
    result = _test(network.float(), images, session.processes, plan)
    if stage_name == "train" and run.writes:
        save_network(run.path, network, images.info)
        run.write_json("samples.json", sample_pictures(images, plan.recipe, result.mistakes))
    cost = trainee.cost(images.info.image_size)
    content = {
        **result.summary(),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        **trainee.to_json(),
        "classes": list(images.info.classes),
        "confusion": result.confusion,
    }
    run.write_json(test_file, content)  # last: it says that the rest is there
    session.processes.barrier()


def _test(network: Network, images: RunImages, processes: Processes, plan: Plan) -> TestResult:
    """Every test image once; each process takes a part of every batch."""
    batches = images.test_batches(plan.recipe.train)
    rows = torch.cat([batches.rows(0, step) for step in range(batches.steps)])
    return evaluate(
        network,
        batches.epoch(0),
        len(images.info.classes),
        gather=lambda table: processes.gather(table, rows, len(images.data.test)),
    )
