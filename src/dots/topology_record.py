"""topology.json: the parameters that a topology search ended with."""

from __future__ import annotations

from typing import Any

import torch

from dots.derive import best_operations
from dots.recipe.settings import TopologySettings
from dots.topology_stage import TopologyStage

VERSION = 1


@torch.no_grad()
def topology_record(stage: TopologyStage, settings: TopologySettings) -> dict[str, Any]:
    """The content of topology.json, for whoever wants more than the chosen cell.

    `beta` holds the raw parameters of each kind and node (what they mean says
    `parameterisation`), `temperature` what divides them at the end; `alpha` the raw α' of
    each kind and edge, in the order of the edge's candidates (columns beyond them mean
    nothing; those of removed operations are never above the others); `operations` names for
    each kind and edge, kept or not, the operation that α' chose.
    """
    gates = {kind: stage.gates.choice(kind).tolist() for kind in stage.space.kinds}
    return {
        "version": VERSION,
        "parameterisation": settings.parameterisation,
        "edges": settings.edges,
        "temperature": settings.t_end,
        "beta": {
            kind: [beta.tolist() for _, beta in stage.topology.nodes(kind)]
            for kind in stage.space.kinds
        },
        "alpha": gates,
        "operations": {
            kind: list(names)
            for kind, names in best_operations(stage.space, stage.candidates, gates).items()
        },
        "kept_edges": {kind: list(kept) for kind, kept in stage.topology.kept_edges().items()},
    }
