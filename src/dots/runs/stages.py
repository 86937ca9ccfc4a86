"""The whole program, top to bottom: operations, topology, halving, training, test.

Every stage leaves a file in the run directory and is skipped where the file is there, so a
run that was interrupted goes on where it was, and any stage can start from a file.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.common.records import (
    CANDIDATES,
    GENOTYPE,
    HALVING,
    POLICY_GENOTYPE,
    RANDOM_GENOTYPE,
    SEARCHED_GENOTYPE,
    TestRecord,
    TopologyRecord,
)
from dots.nas.budget.most_probable import alternatives
from dots.nas.finalists import Finalist, finalists, published
from dots.nas.plan import Plan, stage_shape, trained_form
from dots.nas.successive_halving import SuccessiveHalving, halving_record
from dots.networks.saved import save_network
from dots.networks.specification import CellNetworkSpec, Network, NetworkSpec, ReferenceNetworkSpec
from dots.recipe.settings import Baseline, TrainSettings
from dots.recipe.shares import baseline_settings
from dots.runs import builders
from dots.runs.further_training import begin_with
from dots.runs.limits import cut_to_time
from dots.runs.restarts import note_unlearned_search, train_until_learned
from dots.runs.result import sample_pictures
from dots.runs.selection import selected_operations, selected_topology
from dots.runs.session import Session
from dots.space.candidates import CandidateFile, read_candidates, to_record
from dots.space.discretise import derive_darts
from dots.space.genotype import Genotype
from dots.space.retain import retain
from dots.training.evaluate import TestResult, evaluate


def run_everything(session: Session, given: CandidateFile | None = None) -> None:
    """The main job: search, train, test."""
    genotype = search(session, given)
    train_and_test(session, cell_network_spec(session, genotype))


def search(session: Session, given: CandidateFile | None = None) -> Genotype:
    """The search stages, or those after the first from given candidates."""
    if session.run.has(GENOTYPE):
        return Genotype.load(session.run.path / GENOTYPE, session.plan.space)
    retained = given or search_operations(session)
    searched = search_topology(session, retained)
    if session.plan.recipe.halving.on:
        return choose_cell(session, retained, searched)
    return searched


def search_operations(session: Session) -> CandidateFile:
    """Stage 1 (Sec. 4.2): which operations does each edge keep?"""
    plan, run, images = session.plan, session.run, session.images
    recipe, space = plan.recipe, plan.space
    if run.has(CANDIDATES):
        return read_candidates(run.path / CANDIDATES, space, recipe.retain)
    penalty = session.budget.penalty()
    stage = builders.operation_stage(plan, images.info, session.engine, images.batches, penalty)
    session.loop.run(stage)
    own = builders.operation_images(plan)
    note_unlearned_search(session, stage, own)
    scores, policy = selected_operations(session, stage.strategy, own)
    candidates = retain(space, scores, recipe.retain)
    run.write_text(POLICY_GENOTYPE, policy.to_text())
    run.write_record(to_record(space, recipe.strategy, recipe.retain, scores, candidates))
    session.engine.processes.barrier()
    return CandidateFile(candidates, scores)


def search_topology(session: Session, retained: CandidateFile) -> Genotype:
    """Stage 2 (Sec. 4.1): which edges does each node keep?"""
    run, images, budget = session.run, session.images, session.budget
    name = SEARCHED_GENOTYPE if session.plan.recipe.halving.on else GENOTYPE
    if run.has(name):
        return Genotype.load(run.path / name, session.plan.space)
    plan = cut_to_time(session, "topology")
    candidates = retained.candidates
    budget.check(candidates)
    stage = builders.topology_stage(
        plan, images.info, session.engine, candidates, images.batches, budget.penalty()
    )
    session.loop.run(stage)
    note_unlearned_search(session, stage, builders.topology_images(plan))
    record, genotype = selected_topology(session, stage)
    distribution = None
    if plan.recipe.topology.by_beta:
        distribution = budget.distribution(candidates, record)
        genotype = budget.choose(distribution, genotype)
    if retained.scores is not None and not run.has(POLICY_GENOTYPE):
        run.write_text(POLICY_GENOTYPE, derive_darts(plan.space, retained.scores).to_text())
    run.write_record(record)
    if distribution is not None and run.writes:
        others = alternatives(distribution, budget.tables, budget.limits, genotype)
        run.write_record(others)
    run.write_text(name, genotype.to_text())
    session.engine.processes.barrier()
    return genotype


def choose_cell(session: Session, retained: CandidateFile, searched: Genotype) -> Genotype:
    """Stage 3: of several cells the one whose network is best on half B is trained."""
    run, images, budget = session.run, session.images, session.budget
    plan = cut_to_time(session, "halving")
    recipe, distribution = plan.recipe, None
    policy = None
    if run.has(POLICY_GENOTYPE):
        policy = Genotype.load(run.path / POLICY_GENOTYPE, plan.space)
    if recipe.topology.by_beta:
        distribution = budget.distribution(retained.candidates, TopologyRecord.read(run.path))
    cells = finalists(
        recipe.halving.cells,
        searched,
        budget,
        policy=policy,
        distribution=distribution,
        seed=recipe.seed,
        form=partial(trained_form, recipe),
    )
    session.say(f"halving: {', '.join(cell.origin for cell in cells)}")

    def build(cell: Finalist) -> Network:
        """As the training makes it, each with the same random numbers."""
        network = builders.new_network(plan, cell_network_spec(session, cell.genotype), "halving")
        return session.engine.place_network(network)

    stage = SuccessiveHalving(
        cells,
        recipe.halving,
        recipe.train,
        session.engine,
        images.batches("halving", "half A", recipe.train),
        build,
        partial(classified, session, rows=images.rows("half B")),
        session.say,
    )
    session.loop.run(stage)
    if run.writes:
        run.write_record(halving_record(stage, run.metrics.rows()))
        if recipe.halving.warm_start:
            begin_with(run, stage.winner_network)
        run.write_text(GENOTYPE, stage.winner.genotype.to_text())
    session.engine.processes.barrier()
    return stage.winner.genotype


def cell_network_spec(session: Session, genotype: Genotype) -> CellNetworkSpec:
    """The network of a cell at the size that the recipe asks for."""
    return CellNetworkSpec(genotype, stage_shape(session.plan.recipe.train, session.images.info))


def train_and_test(session: Session, network_spec: NetworkSpec) -> None:
    """Stage 4: a network and its baselines, trained by one recipe, tested.

    From scratch, but for the winner of a halving with a warm start.
    """
    if isinstance(network_spec, CellNetworkSpec) and not session.run.has(GENOTYPE):
        session.run.write_text(GENOTYPE, network_spec.genotype.to_text())
    plan = cut_to_time(session, "train")
    train_network(session, plan, network_spec, "train", plan.recipe.train)
    for name in plan.recipe.baselines:
        other = baseline(session, name)
        if other is not None and _can_be_built(session, name, other):
            settings = baseline_settings(plan.recipe, name)
            train_network(session, plan, other, f"train-{name}", settings)


def baseline(session: Session, name: Baseline) -> NetworkSpec | None:
    """What the found cell is compared with by that name; None where the run has no such."""
    run, info = session.run, session.images.info
    match name:
        case "random":
            cell = session.budget.random_cell(session.plan.recipe.seed)
        case "darts-policy":
            if not run.has(POLICY_GENOTYPE):
                return None
            cell = Genotype.load(run.path / POLICY_GENOTYPE, session.plan.space)
        case "published":
            first = next(published(session.budget), None)
            if first is None:
                return None
            cell = first.genotype
        case "plain":
            return ReferenceNetworkSpec("plain", len(info.classes), info.channels, info.image_size)
    cell = competing_form(session, cell)
    if name == "random":
        run.write_text(RANDOM_GENOTYPE, cell.to_text())
    return cell_network_spec(session, cell)


def competing_form(session: Session, genotype: Genotype) -> Genotype:
    """A baseline's cell in the form of the finalists, if there were any."""
    if session.run.has(HALVING):
        return trained_form(session.plan.recipe, genotype)
    return genotype


def _can_be_built(session: Session, name: str, network_spec: NetworkSpec) -> bool:
    """A search may end in a cell without any connection; that is said, and no run fails of it."""
    try:
        if isinstance(network_spec, CellNetworkSpec):
            network_spec.genotype.check_buildable()
        else:
            network_spec.cost(session.images.info.image_size)
    except UserError as error:
        session.say(f"the {name} network is not trained: {error}")
        return False
    return True


def train_network(
    session: Session,
    plan: Plan,
    network_spec: NetworkSpec,
    stage_name: str,
    settings: TrainSettings,
) -> None:
    """Train a network on all training images and test it once, after the last epoch."""
    run, images = session.run, session.images
    test_file = stage_name.replace("train", "test", 1) + ".json"
    if run.has(test_file):
        return
    network = train_until_learned(session, plan, network_spec, stage_name, settings)
    result = classified(session, network.float())
    if stage_name == "train" and run.writes:
        save_network(run.path, network, images.info)
        run.write_record(sample_pictures(images, settings, result.mistakes))
    cost = network_spec.cost(images.info.image_size)
    record = TestRecord(
        **result.summary(),
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
        **network_spec.to_json(),
        classes=images.info.classes,
        confusion=result.confusion,
    )
    run.write_json(test_file, record.to_json())  # last: it says that the rest is there
    session.engine.processes.barrier()


def classified(session: Session, network: Network, *, rows: Tensor | None = None) -> TestResult:
    """Every test image once, or the training images `rows` [N], none of the test's.

    Each process takes a part of every batch.
    """
    data, info = session.images.data, session.images.info
    images = data.test if rows is None else data.train
    rows = torch.arange(len(images)) if rows is None else rows
    batches = session.images.plain_batches(images, rows, session.plan.recipe.train)
    seen = torch.cat([batches.rows(0, step) for step in range(batches.steps)])
    place = torch.zeros(len(images), dtype=torch.int64)
    place[rows] = torch.arange(len(rows))
    gather = session.engine.processes.gather
    return evaluate(
        network,
        batches.epoch(0),
        len(info.classes),
        gather=lambda table: gather(table, place[seen], len(rows)),
    )
