"""Which choices of a search were close, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dots.common.records import TopologyRecord
from dots.report.graph import (
    choices_of,
    kept_in_topology,
    leading_pair,
    margin,
    operations_on,
    relative_entropy,
    space_of,
)
from dots.report.reading import Run
from dots.report.wording import kind_name, on_edges, percent
from dots.space.search_space import ZERO, SearchSpace

CLOSE_LEAD = 0.5
CLOSE_ENTROPY = 0.5
"""A choice counts as undecided where the winner leads by less, or the entropy is higher:
annealing should end with nearly all the weight on one."""
CLOSE_SEARCH_LEAD = 0.02


def close_calls(run: Run) -> list[str]:
    """Sentences on every choice of the search that was close."""
    return [
        *_close_topology(run),
        *_close_weights(run),
        *_thin_leads(run),
        *_replaced(run),
        *_close_search(run),
    ]


def _thin_leads(run: Run) -> Iterator[str]:
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


def _nodes(
    run: Run, space: SearchSpace, record: TopologyRecord, kind: str, step: float
) -> Iterator[str]:
    choices = choices_of(run)
    if not choices.exclusive:
        return
    for node, values in enumerate(record.beta.get(kind, ())[: space.cell.nodes]):
        if len(values) < 2 or margin(values) >= step:
            continue
        (_, first), (_, second) = leading_pair(space.cell, node, choices, values)
        yield (
            f"Node {node} of the {kind_name(kind)} cell: β of {first} leads that of "
            f"{second} by {margin(values):.2g}. {_why(step)}"
        )


def _edges(
    run: Run, space: SearchSpace, record: TopologyRecord, kind: str, step: float
) -> Iterator[str]:
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


def _close_topology(run: Run) -> Iterator[str]:
    space, rows = space_of(run), run.architecture_rows("topology")
    if space is None or not rows:
        return
    choices = choices_of(run)
    for kind, nodes in rows[-1].beta.items():
        for index, values in enumerate(nodes[: space.cell.nodes]):
            where = f"Node {index} of the {kind_name(kind)} cell"
            if not choices.distribution:
                close = [value for value in values if abs(value - 0.5) < CLOSE_LEAD / 2]
                if close:
                    yield f"{where}: {len(close)} edges ended close to the threshold."
            elif choices.exclusive and len(values) > 1:
                yield from _close_node(run, space, index, values, where)


def _close_node(
    run: Run, space: SearchSpace, index: int, values: Sequence[float], where: str
) -> Iterator[str]:
    lead, entropy = margin(values), relative_entropy(values)
    if lead >= CLOSE_LEAD and entropy <= CLOSE_ENTROPY:
        return
    (most, first), (next_most, second) = leading_pair(
        space.cell, index, choices_of(run), values, before="inputs "
    )
    yield (
        f"{where} was undecided at the end: {first} had {percent(most, 0)}, "
        f"{second} {percent(next_most, 0)} (entropy {entropy:.2f} of the most possible)."
    )


def _close_weights(run: Run) -> Iterator[str]:
    rows = run.architecture_rows("topology")
    for kind, edges in rows[-1].alpha.items() if rows else ():
        close = [
            str(number)
            for number, weights in enumerate(edges, start=1)
            if len(weights) > 1 and margin(weights) < CLOSE_LEAD
        ]
        if close:
            yield (
                f"{on_edges(close, kind)} no operation won "
                f"clearly (lead under {percent(CLOSE_LEAD, 0)} at the end of the topology search)."
            )


def _replaced(run: Run) -> Iterator[str]:
    """Edges of the found cell whose annealed choice was zero, which no cell can have."""
    space, rows = space_of(run), run.architecture_rows("topology")
    if space is None or not rows:
        return
    for kind, edges in rows[-1].alpha.items():
        numbers = []
        for edge, weights in enumerate(edges[: len(space.cell.edges)]):
            names = kept_in_topology(run, kind, edge)
            best = max(zip(weights, names, strict=False), default=(0.0, ""))[1]
            if best == ZERO and operations_on(run, kind, *space.cell.edges[edge]):
                numbers.append(str(edge + 1))
        if numbers:
            yield (
                f"{on_edges(numbers, kind)} the search preferred zero (no connection), which a "
                f"derived cell never has: the best other operation kept there took its place."
            )


def _close_search(run: Run) -> Iterator[str]:
    space, rows = space_of(run), run.architecture_rows("operations")
    if space is None or not rows or run.candidates is None:
        return
    for kind, edges in rows[-1].alpha.items():
        leads = [
            lead
            for edge, weights in enumerate(edges)
            for lead in _leads(run, space, kind, edge, weights)
        ]
        close = sum(lead < CLOSE_SEARCH_LEAD for lead in leads)
        if close:
            yield (
                f"In the operation search of the {kind_name(kind)} cell, {close} of {len(leads)} "
                f"retained operations led the best one left out by less than "
                f"{CLOSE_SEARCH_LEAD:.2f} of weight: another seed may well keep others there."
            )


def _leads(
    run: Run, space: SearchSpace, kind: str, edge: int, weights: Sequence[float]
) -> Iterator[float]:
    """How far each retained operation was ahead of the best rival that was left out."""
    kept = kept_in_topology(run, kind, edge)
    if len(weights) != len(space.operations):
        return
    value = dict(zip(space.operations, weights, strict=True))
    retain = (run.candidates.retain if run.candidates else None) or ""
    scheme = retain.removeprefix("group-")
    grouped = retain.startswith("group-")  # the other schemes never keep zero
    groups = space.groups.get(scheme) if grouped else None
    for name in kept:
        group = next((g for g in groups or () if name in g), space.operations)
        left_out = [op for op in group if op not in kept and (grouped or op != ZERO)]
        rivals = [value[op] for op in left_out if op in value]
        if name in value and rivals:
            yield value[name] - max(rivals)
