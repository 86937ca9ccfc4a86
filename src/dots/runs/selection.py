"""What a search keeps in the end: by the settings `operations.select` and `topology.select`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from dots.common.records import TopologyRecord
from dots.data import Batches
from dots.nas.perturbation import PerturbationStage
from dots.nas.strategies.base import OperationSearch, ScoreTable, SupernetSearch
from dots.nas.supernet_rating import SupernetRating, as_edges, as_topology
from dots.nas.topology_search import TopologyStage, recorded_genotype, topology_record
from dots.recipe.settings import SearchSettings
from dots.runs.builders import Images, topology_images
from dots.runs.session import Session
from dots.space.genotype import Genotype
from dots.space.retain import retain


def selected_operations(
    session: Session, strategy: OperationSearch, own: Images
) -> tuple[ScoreTable, Genotype]:
    """Scores to retain operations by, and the cell without topology search.

    The strategy's own, or by what its supernet misses most (DARTS-PT). `own` are the images
    that trained w.
    """
    settings, space = session.plan.recipe.operations, session.plan.space
    if settings.select == "argmax":
        return strategy.scores(), strategy.derive()
    assert isinstance(strategy, SupernetSearch)
    strategy.set_epoch(settings.epochs - 1)  # as the search has ended, also after a resume
    weights = strategy.operation_probabilities()
    mixtures = {
        kind: replace(mixture, operations=weights[kind], active=None)
        for kind, mixture in strategy.mixtures("evaluation").items()
    }
    selection = PerturbationStage(
        "operations-perturbation",
        space,
        strategy.supernet,
        mixtures,
        partial(retain, space, scheme=session.plan.recipe.retain),
        space.policy_edges,
        settings,
        session.engine,
        session.images.batches("operations", own, settings),
        rating_batches(session, settings),
        session.plan.recipe.seed,
    )
    session.loop.run(selection)
    return selection.scores(), selection.genotype()


def rating_batches(session: Session, settings: SearchSettings) -> Batches:
    """Images of half B that supernets are rated on."""
    return session.images.batches("rating", "half B", settings, most=settings.rating_images)


def selected_topology(session: Session, stage: TopologyStage) -> tuple[TopologyRecord, Genotype]:
    """The content of topology.json, and the cell that it says is kept."""
    settings, space = stage.settings, session.plan.space
    if settings.select == "average":
        stage.average()
    record = topology_record(stage, settings)
    if settings.rate or settings.select == "supernet":
        record = record.model_copy(update=_by_supernet(session, stage, record))
    if settings.select == "perturbation":
        record = record.model_copy(update=_by_perturbation(session, stage))
    return record, recorded_genotype(space, record)


def _by_supernet(session: Session, stage: TopologyStage, record: TopologyRecord) -> dict[str, Any]:
    """What the supernet's own loss says of topologies, for the record."""
    settings, space = stage.settings, session.plan.space
    batches = rating_batches(session, settings)
    operations, engine = record.operations, session.engine
    rating = SupernetRating(space, stage.supernet, operations, settings, engine, batches)
    kept = {kind: as_topology(space, tuple(e)) for kind, e in record.kept_edges.items()}
    found: dict[str, Any] = {}
    if settings.select == "supernet":
        kept = rating.best(kept)
        found["kept_edges"] = {kind: list(as_edges(space, t)) for kind, t in kept.items()}
    if settings.rate:
        found["supernet_losses"] = rating.table(kept)
    return found


def _by_perturbation(session: Session, stage: TopologyStage) -> dict[str, Any]:
    """The edges and operations that the supernet misses most (DARTS-PT), for the record."""
    settings, space = stage.settings, session.plan.space
    selection = PerturbationStage(
        "topology-perturbation",
        space,
        stage.supernet,
        stage.mixtures(),
        partial(retain, space, scheme="top1"),
        settings.choices.edges,
        settings,
        session.engine,
        session.images.batches("topology", topology_images(session.plan), settings),
        rating_batches(session, settings),
        session.plan.recipe.seed,
    )
    importance = selection.edge_importance() if settings.rate else None
    session.loop.run(selection)
    kept = {kind: list(edges) for kind, edges in selection.kept_edges().items()}
    names = {kind: list(ops) for kind, ops in selection.operations().items()}
    return {"kept_edges": kept, "operations": names, "edge_importance": importance}
