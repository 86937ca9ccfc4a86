"""The cell that a run searched: its edges, what its nodes choose, what ended in the found cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dots.common.errors import UserError
from dots.report.reading import FOUND, SEARCHED, Run
from dots.report.wording import node as node_name
from dots.space.edge_combinations import NodeChoices, node_choices
from dots.space.search_space import CellSpec, SearchSpace, named_space


def space_of(run: Run) -> SearchSpace | None:
    """The search space of the run, or None where no file tells, or none of that name exists."""
    found = run.genotypes.get(FOUND)
    name, nodes = run.setting("space"), run.setting("nodes")
    if run.candidates is not None:
        name, nodes = run.candidates.space, run.candidates.nodes
    elif not isinstance(name, str) and found is not None:
        name, nodes = found.space, len(next(iter(found.cells.values())).nodes)
    try:
        if run.space is not None and name in (run.space.name, run.setting("space")):
            return run.space.with_nodes(nodes)
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


def choices_of(run: Run) -> NodeChoices:
    """What nodes choose by the run's recipe; pairs of edges (Eq. 5) where it does not say."""
    keys = ("parameterisation", "edges", "threshold")
    name, edges, threshold = (run.setting(f"topology.{key}") for key in keys)
    whole = edges == "any" or (isinstance(edges, int) and edges > 0)
    try:
        return node_choices(str(name), edges if whole else "pairs", threshold or 0.5)
    except ValueError:
        return node_choices("combinations", edges if whole else "pairs")


def column_names(spec: CellSpec, node: int, choices: NodeChoices, width: int) -> list[str] | None:
    """For each of `width` recorded values of a node the nodes that its edges come from: "{k−2, 1}".

    None where the recorded values are not as many as the recipe implies.
    """
    incoming = spec.incoming[node]
    columns = choices.columns(len(incoming))
    if len(columns) != width:
        return None
    sources = [node_name(spec.edges[edge][0], spec.inputs) for edge in incoming]
    return ["{" + ", ".join(sources[edge] for edge in column) + "}" for column in columns]


def leading_pair(
    spec: CellSpec, node: int, choices: NodeChoices, values: Sequence[float], before: str = ""
) -> tuple[tuple[float, str], tuple[float, str]]:
    """The two largest of a node's recorded values, each with the name of its combination.

    `before` stands before the names; combinations that cannot be told are numbered.
    """
    names = column_names(spec, node, choices, len(values))
    first, second = sorted(range(len(values)), key=lambda c: -values[c])[:2]

    def named(column: int) -> tuple[float, str]:
        return values[column], before + names[column] if names else f"combination {column + 1}"

    return named(first), named(second)


def relative_entropy(probabilities: Sequence[float]) -> float:
    """The entropy of a distribution relative to the uniform one's: 0 decided, 1 undecided."""
    if len(probabilities) < 2:
        return 0.0
    nats = -sum(p * math.log(p) for p in probabilities if p > 0)
    return nats / math.log(len(probabilities))


def margin(values: Sequence[float]) -> float:
    """The lead of the largest value over the second; of a single value, the value itself."""
    ordered = sorted(values, reverse=True)
    return ordered[0] - ordered[1] if len(ordered) > 1 else ordered[0]
