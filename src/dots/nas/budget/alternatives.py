"""alternatives.json: what else a topology search could have chosen, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dots.common.records import Alternatives, Choice
from dots.nas.budget.cost_table import CostTable, Metric
from dots.nas.budget.distribution import ArchitectureDistribution
from dots.nas.budget.most_probable import Alternative, pareto_cells, top_cells
from dots.space.genotype import Genotype

TOP = 10


def alternatives(
    distribution: ArchitectureDistribution,
    tables: Sequence[CostTable],
    limits: Mapping[Metric, float],
    chosen: Genotype,
) -> Alternatives:
    """The content of alternatives.json.

    `top` are the most probable cells, without limits; `pareto` for each metric those that no
    cheaper cell equals in probability, most probable first; `chosen` is the cell that was
    taken. Each has the logarithm of its joint probability at temperature 1, its network's
    costs, and whether it is within the limits; all but the chosen one have the genotype.
    """
    top = top_cells(distribution, tables, TOP)
    within = top_cells(distribution, tables, 1, limits) if limits else []
    found = [cell for cell in (*within, *top) if cell.genotype == chosen]
    return Alternatives(
        version=1,
        limits=limits,
        chosen=_choice(found[0], limits) if found else None,
        top=[_choice(cell, limits, genotype=cell.genotype.to_json()) for cell in top],
        pareto={
            table.metric: [
                _choice(cell, limits, genotype=cell.genotype.to_json())
                for cell in pareto_cells(distribution, tables, table.metric)
            ]
            for table in tables
        },
    )


def _choice(cell: Alternative, limits: Mapping[Metric, float], **genotype: object) -> Choice:
    return Choice(
        log_probability=cell.log_probability,
        costs=cell.costs,
        within_limits=all(cell.costs[metric] <= limit for metric, limit in limits.items()),
        **genotype,
    )
