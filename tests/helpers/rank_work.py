"""What one of several processes does in tests of `training.processes`: `rank_work.py FOLDER WHAT`.

Each writes what it saw to FOLDER/WHAT-WORLD-RANK.safetensors (a checkpoint), the main one also
what it sees alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dots.common.seeding import seed_step
from dots.data.batch import Batch
from dots.nas.random_cell import random_genotype
from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.base import SearchContext, SupernetSearch
from dots.nas.topology import make_topology
from dots.nas.topology_search import TopologyStage
from dots.networks.derived import DerivedNetwork
from dots.runs import state_file as checkpoint
from dots.space.search_space import darts_space
from dots.training.engine import Engine
from dots.training.evaluate import evaluate
from dots.training.processes import Processes, start_processes
from helpers import searches, small
from helpers.stages import SPACE, candidates_of, topology_settings

IMAGES = 7  # of a global batch: no process count but 1 and 7 divides it
QUICK: dict[str, dict[str, object]] = {"proxyless-nas": {"weight_steps": 1}}


def part_of(whole: Batch, rank: int, world: int) -> Batch:
    """The piece of a global batch that this process sees, as `dots.data.batches` cuts it."""
    count = len(whole.labels)
    piece = slice(rank * count // world, (rank + 1) * count // world)
    return Batch(whole.images[piece], whole.labels[piece], count)


def pieces(processes: Processes, count: int, seed: int = 0) -> Iterator[Batch]:
    for step in range(count):
        whole = small.batch(images=IMAGES, seed=seed + step)
        yield part_of(whole, processes.rank, processes.world)


def strategies(processes: Processes) -> dict[str, Any]:
    """Of every strategy: α, w and running statistics after each of two steps."""
    return {name: list(_searched(processes, name)) for name in STRATEGIES if name != "random"}


def _searched(processes: Processes, name: str) -> Iterator[dict[str, Any]]:
    strategy, space = STRATEGIES[name], darts_space(nodes=1)
    own, chosen = strategy.Settings(**QUICK.get(name, {})), searches.settings(cells=2)
    context = SearchContext(
        space,
        small.SHAPE,
        chosen,
        Engine(processes),
        0,
        (space.operations,),
        image_size=8,
        fast=False,
    )
    search = strategy(context, own)
    assert isinstance(search, SupernetSearch)
    search.begin_epoch(3)
    search.set_epoch(3)
    held_out = list(pieces(processes, 2, seed=50))
    alpha = getattr(search, "alpha", None)  # IS-DARTS has none
    for step, batch in enumerate(pieces(processes, 2)):
        seed_step(0, "operations", 3, step)
        search.step(3, batch, held_out[step] if search.wants_architecture_batch(3) else None)
        processes.average_statistics(search.supernet)
        yield {
            "alpha": {} if alpha is None else _copied(alpha.state_dict()),
            "weights": _copied(search.supernet.state_dict()),
        }


def topology(processes: Processes) -> dict[str, Any]:
    """β, α' and w after each of three steps of the topology search."""
    candidates = candidates_of(SPACE, ("skip_connect", "sep_conv_3x3"))
    made = make_topology(
        SPACE, parameterisation="combinations", edges="pairs", normalise=True, threshold=0.5
    )
    torch.manual_seed(0)
    net = small.Supernet(SPACE, small.SHAPE, candidates)
    batches: Any = small.FewBatches()
    stage = TopologyStage(
        SPACE, candidates, made, net, topology_settings(), Engine(processes), batches
    )
    with torch.no_grad():
        stage.gates.alpha["normal"][0, 1] = -2  # underflows: this operation is removed
    stage.begin_epoch(0)
    assert stage.gates.active
    stage.set_epoch(0)
    seen = []
    for step, batch in enumerate(pieces(processes, 3)):
        stage.step(0, step, (batch, None))
        processes.average_statistics(net)
        seen.append(
            {
                "beta": _copied(stage.topology.state_dict()),
                "gates": _copied(stage.gates.state_dict()),
                "weights": _copied(net.state_dict()),
            }
        )
    return {"steps": seen, "genotype": stage.genotype().to_text()}


def gradients(processes: Processes) -> dict[str, Any]:
    """Of a supernet in float64 whose batch norms use their running statistics: of α and w."""
    net = small.supernet(darts_space(nodes=1), fast=False).double().eval()
    mixtures = small.random_mixtures(net, dtype=torch.float64, edges=False)
    parameters = [
        *net.parameters(),
        *(nn.Parameter(m.operations.detach()) for m in mixtures.values()),
    ]
    alpha = dict(zip(mixtures, parameters[-len(mixtures) :], strict=True))
    results = {}
    for accumulate in (1, 2):
        engine = Engine(processes, accumulate=accumulate)

        def objective(part: Batch, engine: Engine = engine) -> tuple[Tensor, Tensor]:
            now = {kind: small.Mixture(weights) for kind, weights in alpha.items()}
            logits = net(part.images.double(), now)
            return engine.cross_entropy(logits, part.labels), logits

        engine.gradients(next(pieces(processes, 1)), objective, parameters)
        results[str(accumulate)] = [p.grad.clone() for p in parameters if p.grad is not None]
    return results


def test(processes: Processes) -> dict[str, Any]:
    """The test of an untrained network on 23 images in batches of seven."""
    torch.manual_seed(1)
    network = DerivedNetwork(random_genotype(darts_space(nodes=1), "pairs", 0), small.SHAPE)
    network.double()
    whole = small.batch(images=23)
    batches, rows = [], []
    for start in range(0, 23, IMAGES):
        chunk = Batch(whole.images[start : start + 7].double(), whole.labels[start : start + 7], 0)
        batches.append(part_of(chunk, processes.rank, processes.world))
        index = Batch(torch.arange(start, min(start + 7, 23)), chunk.labels, 0)
        rows.append(part_of(index, processes.rank, processes.world).images)
    result = evaluate(
        network,
        batches,
        5,
        gather=lambda table: processes.gather(table, torch.cat(rows), 23),
    )
    mistakes = [[m.index, m.label, m.predicted, m.confidence] for m in result.mistakes]
    return {**result.summary(), "confusion": result.confusion, "mistakes": mistakes}


def together(processes: Processes) -> dict[str, Any]:
    """Sums, maxima, texts."""
    rank = processes.rank
    return {
        "sum": processes.sum(torch.tensor([float(rank), 1.0])),
        "largest": processes.max(torch.tensor([rank, -rank])),
        "text": processes.text(f"äöü {rank} " * (3 - rank)),
    }


def death(processes: Processes) -> dict[str, Any]:
    """The last process dies; the others wait for it."""
    processes.barrier()
    if processes.rank == processes.world - 1:
        os._exit(9)
    processes.barrier()
    time.sleep(60)
    return {}


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() for name, value in state.items()}


WORK: dict[str, Callable[[Processes], dict[str, Any]]] = {
    "strategies": strategies,
    "topology": topology,
    "gradients": gradients,
    "test": test,
    "together": together,
    "death": death,
}

ALIKE = ("gradients", "test")
"""What a process does alone too."""


def _write(what: str, processes: Processes) -> None:
    file = Path(sys.argv[1]) / f"{what}-{processes.world}-{processes.rank}.safetensors"
    checkpoint.save(file, WORK[what](processes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    processes = start_processes("cpu")
    for what in sys.argv[2:]:
        _write(what, processes)
        if what in ALIKE and processes.main:
            _write(what, Processes.single(processes.device))
