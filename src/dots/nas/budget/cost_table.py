"""The cost of a derived network as a sum over its edges, exact to the last parameter.

A cell kind's operation stands in every cell of that kind, at that cell's width and
resolution. What the rest of the network costs (stem, preprocessing, classifier) does not
depend on the choice of edges and operations, as long as every node has an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from dots.networks.body import (
    STEM_HALVINGS,
    CellPlan,
    Shape,
    plan_darts,
    plan_nasbench201,
)
from dots.networks.count import Cost, network_cost, operation_cost
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import ZERO, SearchSpace

Metric = Literal["parameters", "multiply_adds", "nanoseconds", "memory_access"]


class Place(NamedTuple):
    """Where an operation stands: channels, stride, and its input's height and width."""

    channels: int
    stride: int
    size: int


Places = Mapping[tuple[str, bool], tuple[Place, ...]]
"""For a cell kind and whether an edge comes from an input of the cell: one for each cell."""


def walk(plans: Sequence[CellPlan], size: int) -> Places:
    """The places of edges in cells that follow each other; `size` is what the stem gives."""
    found: dict[tuple[str, bool], list[Place]] = {}
    for plan in plans:
        size = halved(size) if plan.transition else size
        inner = halved(size) if plan.reduction else size
        outer = Place(plan.channels, 2 if plan.reduction else 1, size)
        found.setdefault((plan.kind, True), []).append(outer)
        found.setdefault((plan.kind, False), []).append(Place(plan.channels, 1, inner))
        size = inner
    return {key: tuple(places) for key, places in found.items()}


def halved(size: int) -> int:
    """A height or width at stride 2: odd ones are rounded up."""
    return (size + 1) // 2


def places(space: SearchSpace, shape: Shape, image_size: int) -> Places:
    """The places of a derived network's edges; `image_size` is in pixels."""
    if space.skeleton == "nasbench201":
        return walk(plan_nasbench201(shape), image_size)
    outputs = dict.fromkeys(space.kinds, len(space.cell.concat))
    plans = plan_darts(shape, space.cell.inputs, outputs, searching=False)
    size = image_size
    for _ in range(STEM_HALVINGS[shape.stem]):
        size = halved(size)
    return walk(plans, size)


@dataclass(frozen=True)
class CostTable:
    """One metric: what is fixed, and what an edge adds over all cells of its kind.

    `edges` maps a cell kind, an operation, and whether the edge comes from an input of the
    cell. All costs are whole numbers, so that sums are exact in any order.
    """

    metric: Metric
    inputs: int
    fixed: float
    edges: Mapping[tuple[str, str, bool], float]

    def edge(self, kind: str, op: str, source: int) -> float:
        """What the operation `op` on an edge from node `source` adds; Zero adds nothing."""
        return 0.0 if op == ZERO else self.edges[kind, op, source < self.inputs]

    def total(self, genotype: Genotype) -> float:
        """The cost of the network of a genotype whose nodes all have an input."""
        return self.fixed + sum(
            self.edge(kind, edge.op, edge.source)
            for kind, cell in genotype.cells.items()
            for node in cell.nodes
            for edge in node
        )


Measure = Callable[[str, Place], float]
"""The cost of an operation at a place."""


def cost_table(
    space: SearchSpace,
    found: Places,
    metric: Metric,
    fixed: float,
    measure: Measure,
    operations: Iterable[str],
) -> CostTable:
    """A table of what `measure` says of each operation at each place, summed over cells."""
    sums = {
        (kind, op, outer): sum(measure(op, place) for place in found.get((kind, outer), ()))
        for kind in space.kinds
        for op in operations
        if op != ZERO
        for outer in (True, False)
    }
    return CostTable(metric, space.cell.inputs, fixed, sums)


def counted_tables(
    space: SearchSpace, shape: Shape, image_size: int, operations: Iterable[str] | None = None
) -> tuple[CostTable, CostTable]:
    """Parameters and multiply-adds of derived networks of this shape; nothing is computed.

    `operations` are those of the space unless given. Raises UserError for images that are
    too small.
    """
    names = tuple(space.operations if operations is None else operations)
    found = places(space, shape, image_size)
    rest = network_cost(free_genotype(space), shape, image_size)

    @cache
    def count(op: str, place: Place) -> Cost:
        return operation_cost(op, place.channels, place.stride, place.size, space.own)

    return (
        cost_table(
            space, found, "parameters", rest.parameters, lambda *a: count(*a).parameters, names
        ),
        cost_table(
            space,
            found,
            "multiply_adds",
            rest.multiply_adds,
            lambda *a: count(*a).multiply_adds,
            names,
        ),
    )


FREE = "max_pool_3x3"
"""An operation without parameters and multiply-adds."""


def free_genotype(space: SearchSpace) -> Genotype:
    """Cells of poolings alone: what their network costs, every network costs."""
    nodes = tuple((Edge(FREE, 0),) for _ in range(space.cell.nodes))
    cell = Cell(nodes, space.cell.concat)
    return Genotype(dict.fromkeys(space.kinds, cell), space.name, space)
