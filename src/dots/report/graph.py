"""The cell graph that a run searched, and which of its edges ended in the found cell."""

from __future__ import annotations

from dots.common.errors import UserError
from dots.report.reading import FOUND, SEARCHED, Run
from dots.space.search_space import SearchSpace, named_space


def space_of(run: Run) -> SearchSpace | None:
    """The search space of the run, or None where no file tells, or none of that name exists."""
    found = run.genotypes.get(FOUND)
    name, nodes = run.setting("space"), run.setting("nodes")
    if run.candidates is not None:
        name, nodes = run.candidates.space, run.candidates.nodes
    elif not isinstance(name, str) and found is not None:
        name, nodes = found.space, len(next(iter(found.cells.values())).nodes)
    try:
        return named_space(name, nodes) if isinstance(name, str) else None
    except UserError:
        return None


def operations_on(run: Run, kind: str, source: int, target: int) -> tuple[str, ...]:
    """The operations that the searched cell has on the edge source -> target; often none."""
    genotype = run.genotypes.get(SEARCHED, run.genotypes.get(FOUND))
    if genotype is None or kind not in genotype.cells:
        return ()
    nodes = genotype.cells[kind].nodes
    index = target - genotype.inputs
    if not 0 <= index < len(nodes):
        return ()
    return tuple(edge.op for edge in nodes[index] if edge.source == source)


def kept_in_topology(run: Run, kind: str, edge: int) -> tuple[str, ...]:
    """The operations that the operation search kept on an edge, in their groups' order."""
    if run.candidates is None:
        return ()
    rows = run.candidates.candidates.get(kind, [])
    return tuple(rows[edge]) if edge < len(rows) else ()


def group_names(run: Run) -> tuple[str, ...]:
    """What to call the retained operations of an edge, in order."""
    if run.candidates is None:
        return ()
    counts = [len(ops) for edges in run.candidates.candidates.values() for ops in edges]
    count = max(counts, default=0)
    if (run.candidates.retain or "").startswith("group"):
        return tuple(f"Group {index}" for index in range(1, count + 1))
    if count == 1:
        return ("Operation",)
    return tuple(f"Choice {index}" for index in range(1, count + 1))
