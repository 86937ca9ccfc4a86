"""How a step grows with the nodes of a cell, and what the table of edge combinations costs.

    python benchmarks/growth.py [--threads 1 2] [--repeats 3] [--batch 64] ...

The weight step of the operation search for cells of 4 to 8 nodes: its time should follow the
edges, so the time of an edge should be that with 4 nodes, give or take a tenth. And the
combinations of all sizes of up to 12 incoming edges (4,095 subsets of the last node's): the
edge weights of both cells, their gradient and Adam's step, against one topology step of the
usual cell, whose nodes have 5 edges at most. The step of a cell with 12 would be longer, and
the share smaller. Target: at most 1 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import torch

from comparing import Times, add_sizes, alternate, each_thread_count, parser, spread, verdict
from dots.nas.topology import EdgeCombinations
from dots.space.search_space import darts_space
from dots.training.optimisers import ArchitectureOptimiser
from ours import Sizes, operation_search, recipe, topology_search

NODES = (4, 5, 6, 7, 8)
UNEVEN = 1.1
"""Time of an edge relative to that with the fewest nodes."""
MOST_EDGES = 12
SHARE = 0.01


def table() -> Callable[[], None]:
    """Edge weights, gradient and optimiser step of cells whose last node has MOST_EDGES edges."""
    space = darts_space(MOST_EDGES - 1)
    topology = EdgeCombinations(space, "any", normalise=True)
    optimiser = ArchitectureOptimiser(topology.parameters(), recipe().topology)
    slopes = {kind: torch.randn(len(space.cell.edges)) for kind in space.kinds}

    def step() -> None:
        gamma = topology.edge_weights(1.0)
        optimiser.adam.zero_grad()
        torch.stack([gamma[kind] @ slopes[kind] for kind in space.kinds]).sum().backward()
        optimiser.apply()

    return step


def print_growth(times: Times, edges: dict[str, int]) -> None:
    """Seconds, and seconds of an edge relative to the first row."""
    first = next(iter(times))
    for name, seconds in times.items():
        ratios = [
            a / edges[name] / (b / edges[first]) for a, b in zip(seconds, times[first], strict=True)
        ]
        print(
            f"  {name}, {edges[name]} edges: {spread(seconds)} s; of an edge {spread(ratios)}; ",
            end="",
        )
        print(verdict(median(ratios), UNEVEN), flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    wanted = parser(__doc__, repeats=3)
    add_sizes(wanted, channels=16, cells=8, batch=64)
    wanted.add_argument("--nodes", type=int, nargs="+", default=NODES, help="%(default)s")
    wanted.add_argument("--topology-cells", type=int, default=20, help="(%(default)s)")
    options = wanted.parse_args(words)
    sizes = Sizes.asked(options)
    batch = sizes.ours()
    searches = {
        f"{nodes} nodes": operation_search(replace(sizes, nodes=nodes)) for nodes in options.nodes
    }
    edges = {name: len(search.context.space.cell.edges) for name, search in searches.items()}
    runs = {
        name: lambda search=search: search.weight_step(batch) for name, search in searches.items()
    }
    stage = topology_search(replace(sizes, cells=options.topology_cells), ("none", "sep_conv_3x3"))
    both = {"table": table(), "step": lambda: stage.step(0, 0, (batch, None))}
    print(f"operation-search weight step: {sizes}")
    for _ in each_thread_count(options):
        print_growth(alternate(runs, options), edges)
        times = alternate(both, options)
        share = median(times["table"]) / median(times["step"])
        print(
            f"  combinations of up to {MOST_EDGES} edges: {spread(times['table'], 5)} s; ", end=""
        )
        print(f"{100 * share:.3f} % of a topology step of {spread(times['step'])} s; ", end="")
        print(verdict(100 * share, 100 * SHARE, " %"))


if __name__ == "__main__":
    main()
