"""A search that was never run: softmaxes that drift apart, and a temperature that falls."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import ZERO, SearchSpace
from helpers.fabricated_plan import Plan


def softmax(values: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax along the last axis."""
    shifted = (values - values.max(-1, keepdims=True)) / temperature
    powers = np.exp(shifted)
    return powers / powers.sum(-1, keepdims=True)


def rounded(values: np.ndarray) -> list[Any]:
    """As JSON, with a sensible number of digits."""
    return np.round(values, 5).tolist()


def groups(plan: Plan, space: SearchSpace) -> list[list[int]]:
    """The positions of the operations of each group."""
    if not plan.retain.startswith("group-"):
        return [list(range(len(space.operations)))]
    scheme = space.groups_for(plan.retain.removeprefix("group-"))
    return [[space.operations.index(op) for op in group] for group in scheme]


def operation_search(
    random: np.random.Generator, plan: Plan, space: SearchSpace, rows: list[dict[str, Any]]
) -> tuple[dict[str, list[list[str]]], dict[str, Any]]:
    """Let α drift and keep the best of each group; returns candidates and scores."""
    edges, operations = len(space.cell.edges), len(space.operations)
    aims = {kind: random.normal(0, 0.8, (edges, operations)) for kind in space.kinds}
    partition = groups(plan, space)
    weights: dict[str, np.ndarray] = {}
    for epoch in range(plan.epochs[0]):
        share = (epoch + 1) / plan.epochs[0]
        for kind in space.kinds:
            alpha = aims[kind] * share + 0.05 * random.standard_normal((edges, operations))
            mixed = np.zeros((edges, operations))
            for group in partition:
                mixed[:, group] = softmax(alpha[:, group])
            weights[kind] = mixed
        rows.append(
            {
                "stage": "operations",
                "epoch": epoch,
                "alpha": {kind: rounded(weights[kind]) for kind in space.kinds},
            }
        )
    count = {"top1": 1, "top2": 2}.get(plan.retain, 1)
    kept = {
        kind: [
            [
                space.operations[group[best]]
                for group in partition
                for best in np.argsort(-weights[kind][edge, group])[:count]
            ]
            for edge in range(edges)
        ]
        for kind in space.kinds
    }
    return kept, {kind: rounded(weights[kind]) for kind in space.kinds}


def tables(plan: Plan, space: SearchSpace) -> list[list[tuple[int, ...]]]:
    """For each node what its β stands for, as edge indices."""
    result = []
    for incoming in space.cell.incoming:
        n = len(incoming)
        if plan.parameterisation != "combinations":
            subsets = [(position,) for position in range(n)]
        elif plan.edges == "any":
            subsets = [tuple(e for e in range(n) if code >> e & 1) for code in range(1, 2**n)]
        else:
            size = plan.edges if isinstance(plan.edges, int) else 2
            subsets = list(combinations(range(n), min(size, n)))
        result.append([tuple(incoming[position] for position in subset) for subset in subsets])
    return result


def topology_search(
    random: np.random.Generator,
    plan: Plan,
    space: SearchSpace,
    kept: dict[str, list[list[str]]],
    rows: list[dict[str, Any]],
) -> tuple[Genotype, dict[str, Any]]:
    """Let β drift while T falls; returns the derived genotype, and raw β and α'."""
    epochs = plan.epochs[1]
    lookup = tables(plan, space)
    aims = {k: [random.normal(0, 0.15, len(node)) for node in lookup] for k in space.kinds}
    gates = {k: [random.normal(0, 0.02, len(ops)) for ops in kept[k]] for k in space.kinds}
    raw = {
        key: {k: [rounded(v) for v in of[k]] for k in space.kinds}
        for key, of in (("beta", aims), ("alpha", gates))
    }
    beta: dict[str, list[np.ndarray]] = {}
    alpha: dict[str, list[np.ndarray]] = {}
    for epoch in range(epochs):
        temperature = 10 * (0.02 / 10) ** (epoch / max(1, epochs - 1))
        share = (epoch + 1) / epochs
        gamma: dict[str, list[float]] = {}
        for kind in space.kinds:
            logits = [aim * share + 0.01 * random.standard_normal(len(aim)) for aim in aims[kind]]
            if plan.parameterisation == "sigmoid":
                beta[kind] = [1 / (1 + np.exp(-b / max(temperature, 0.05))) for b in logits]
            else:
                beta[kind] = [softmax(b, temperature) for b in logits]
            alpha[kind] = [softmax(g * share, temperature / 1000) for g in gates[kind]]
            edge_weights = np.zeros(len(space.cell.edges))
            for node, probabilities in zip(lookup, beta[kind], strict=True):
                for subset, p in zip(node, probabilities, strict=True):
                    edge_weights[list(subset)] += p / len(subset)
            gamma[kind] = rounded(edge_weights)
        rows.append(
            {
                "stage": "topology",
                "epoch": epoch,
                "temperature": temperature,
                "alpha": {k: [rounded(a) for a in alpha[k]] for k in space.kinds},
                "beta": {k: [rounded(b) for b in beta[k]] for k in space.kinds},
                "gamma": gamma,
            }
        )
    cells = {}
    for kind in space.kinds:
        nodes = []
        for node, probabilities in zip(lookup, beta[kind], strict=True):
            if plan.parameterisation == "combinations":
                chosen = node[int(np.argmax(probabilities))]
            else:
                best = sorted(np.argsort(-probabilities)[:2])
                chosen = tuple(node[index][0] for index in best)
            nodes.append(tuple(_edge(space, kept[kind], alpha[kind], edge) for edge in chosen))
        cells[kind] = Cell(tuple(nodes), space.cell.concat)
    return Genotype(cells, plan.space), raw


def _edge(space: SearchSpace, kept: list[list[str]], alpha: list[np.ndarray], edge: int) -> Edge:
    ordered = [kept[edge][index] for index in np.argsort(-alpha[edge])]
    op = next((op for op in ordered if op != ZERO), "skip_connect")
    return Edge(op, space.cell.edges[edge][0])


def random_cell(random: np.random.Generator, space: SearchSpace) -> Genotype:
    """Two random edges a node, random operations."""
    operations = [op for op in space.operations if op != ZERO]
    cells = {}
    for kind in space.kinds:
        nodes = []
        for incoming in space.cell.incoming:
            chosen = random.choice(len(incoming), min(2, len(incoming)), replace=False)
            nodes.append(
                tuple(
                    Edge(str(random.choice(operations)), space.cell.edges[incoming[index]][0])
                    for index in sorted(chosen)
                )
            )
        cells[kind] = Cell(tuple(nodes), space.cell.concat)
    return Genotype(cells, space.name)
