"""Choices that the low temperature made certain although hardly anything spoke for them.

At the end of annealing every choice looks sure, since a small lead divided by a small
temperature is a large one. The raw parameters in topology.json tell how large the lead was.
"""

from __future__ import annotations

from collections.abc import Iterator

from dots.report.combos import leading_pair, margin
from dots.report.graph import kept_in_topology, operations_on, space_of
from dots.report.reading import Run
from dots.report.schema import Topology
from dots.report.wording import kind_name, on_edges
from dots.space import SearchSpace


def thin_leads(run: Run) -> Iterator[str]:
    """A sentence on each node, and one on the edges of each cell, that led by a single step.

    Adam's first step moves a parameter by the learning rate, so two apart by twice of it.
    Edges that are not in the found cell do not matter, and are left out.
    """
    space, rate = space_of(run), run.setting("topology.arch_lr")
    if space is None or run.topology is None or not isinstance(rate, float):
        return
    for kind in space.kinds:
        yield from _nodes(run, space, run.topology, kind, 2 * rate)
        yield from _edges(run, space, run.topology, kind, 2 * rate)


def _nodes(run: Run, space: SearchSpace, record: Topology, kind: str, step: float) -> Iterator[str]:
    if record.parameterisation != "combinations":
        return
    for node, values in enumerate(record.beta.get(kind, ())[: space.cell.nodes]):
        if len(values) < 2 or margin(values) >= step:
            continue
        edges = run.setting("topology.edges")
        (_, first), (_, second) = leading_pair(
            space.cell, node, edges, record.parameterisation, values
        )
        yield (
            f"Node {node} of the {kind_name(kind)} cell: β of {first} leads that of "
            f"{second} by {margin(values):.2g}. {_why(step)}"
        )


def _edges(run: Run, space: SearchSpace, record: Topology, kind: str, step: float) -> Iterator[str]:
    thin = []
    for edge, values in enumerate(record.alpha.get(kind, ())[: len(space.cell.edges)]):
        kept = values[: len(kept_in_topology(run, kind, edge))]
        used = operations_on(run, kind, *space.cell.edges[edge])
        if used and len(kept) > 1 and margin(kept) < step:
            thin.append(str(edge + 1))
    if thin:
        yield (f"{on_edges(thin, kind)}, α' of the leading operation is hardly ahead. {_why(step)}")


def _why(step: float) -> str:
    return (
        f"A single step of the optimiser can give as much ({step:g}): one batch may have "
        f"decided, and the low temperature made it look sure."
    )
