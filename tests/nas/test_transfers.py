"""No step waits for the device, but for the choice that a sampling method makes once."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch

from dots.data import DataInfo
from dots.nas.budget.cost_table import counted_tables
from dots.nas.budget.penalty import CostPenalty, kept_probabilities, uniform_kept
from dots.nas.plan import Plan, make_plan
from dots.nas.strategies import STRATEGIES
from dots.nas.topology import EdgeCombinations
from dots.networks import supernet
from dots.networks.body import Shape
from dots.recipe import Recipe, build_recipe
from dots.runs.planning.trial_steps import STAGES, single_engine, trial_steps
from dots.space.search_space import darts_space
from dots.training.engine import StepResult
from dots.training.loop import Loop, Meter
from dots.training.processes import Processes
from helpers import contracts
from helpers.transfers import META, Transfers

INFO = DataInfo("five", tuple("abcde"), 3, 16, (0.5,) * 3, (0.2,) * 3, flip=True)
ONCE = {"drop-nas", "gdas", "proxyless-nas", "sdarts-rs", "sdarts-adv"}
"""Methods that run, or draw on the host, what chance says."""
EVERY_OPERATION = {"darts", "pc-darts", "merge-nas"}
"""Search the DARTS space; other methods, which mix the same operations, Zero, skip and a
convolution."""
INDEX, HALF = torch.tensor([0, 2]), torch.tensor(0.5)
SAMPLES = "shapley-nas"
"""Its first steps of an epoch take the operations away until too little accuracy is left."""


def _recipe(*words: str) -> Recipe:
    small = [f"{stage}.{size}" for stage in STAGES for size in ("cells=3", "channels=4")]
    return build_recipe("tiny", None, ["nodes=2", "operations.epochs=12", *small, *words])


def _counted(
    plan: Plan, stage: str, *, parts: tuple[int, ...] = (1, 1, 1), precision: str = "32"
) -> list[list[str]]:
    """The calls of a few steps, each of a batch in so many parts."""
    engine = single_engine(META, precision=precision)
    (trial,) = trial_steps(plan, INFO, engine, (stage,))
    steps = []
    for engine.accumulate in parts:
        with Transfers() as calls:
            trial.late(4)
        steps.append(calls)
    return steps


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_step_of_the_operation_search(name: str) -> None:
    """The first step makes what optimisers remember; cells of one node have all that counts."""
    quick = (f"method.{key}={value}" for key, value in contracts.QUICK.get(name, {}).items())
    space = "darts" if name in EVERY_OPERATION else "s3"
    plan = make_plan(_recipe("nodes=1", f"space={space}", f"strategy={name}", *quick))
    steps = _counted(plan, "operations", parts=(2, 1))
    for calls in steps[1:] if name == SAMPLES else steps:
        assert len(calls) <= (name in ONCE), calls


@pytest.mark.parametrize("stage", ["operations", "topology"])
def test_a_step_that_takes_edges_together(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(supernet, "joins", lambda x: True)
    for calls in _counted(make_plan(_recipe()), stage):
        assert calls == []


@pytest.mark.parametrize("words", [[], ["topology.held_out=true"], ["topology.edges=any"]])
def test_a_step_of_the_topology_search(words: list[str]) -> None:
    for calls in _counted(make_plan(_recipe(*words)), "topology"):
        assert calls == []


@pytest.mark.parametrize("precision", ["32", "64"])
def test_a_step_of_the_training(precision: str) -> None:
    words = ["train.auxiliary=0.4", "train.drop_path=0.2", "train.label_smoothing=0.1"]
    for calls in _counted(make_plan(_recipe(*words)), "train", precision=precision):
        assert calls == []


def test_what_the_loop_adds_up() -> None:
    meter = Meter(META)
    result = StepResult(torch.zeros((), device=META), torch.zeros((), device=META), 4)
    with Transfers() as calls:
        meter.add(0, result)
        _loop()._agreed(saved=0.0)
    assert calls == []


def test_a_meter_is_read_once_an_epoch_and_reads_little() -> None:
    with Transfers() as calls:
        Meter(META).read(Processes.single(META))
    assert sorted(calls) == [
        "torch.Tensor.__int__",
        "torch.Tensor.new_tensor",
        "torch.Tensor.tolist",
    ]


def _loop() -> Loop:
    nobody: Any = None
    return Loop(0, Processes.single(META), journal=nobody, watcher=nobody, stop_signal=lambda: None)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: bool(x.any()),
        lambda x: float(x.sum()),
        lambda x: x.cpu(),
        lambda x: x.to("cpu", torch.float64),
        lambda x: torch.zeros(3).copy_(x),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.ones(3).to(x),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x[[0, 2]],
        lambda x: x[None, np.array([0, 2])],
        lambda x: x.__setitem__([0, 2], 1.0),
        lambda x: x[INDEX],
        lambda x: x.index_select(0, INDEX),
        lambda x: x * HALF,
    ],
)
def test_the_counter_sees(call: Any) -> None:
    with Transfers() as calls, contextlib.suppress(NotImplementedError):
        call(torch.ones(3, device=META))
    assert len(calls) == 1


def test_shapes_that_depend_on_values_are_refused() -> None:
    x = torch.ones(3, device=META)
    for call in (lambda: x[x > 0], lambda: x.nonzero(), lambda: x.masked_select(x > 0)):
        with Transfers(), pytest.raises((NotImplementedError, RuntimeError)):
            call()


def test_what_a_budget_adds() -> None:
    """Its tables are moved with the first step."""
    space = darts_space(nodes=2)
    table = counted_tables(space, Shape(3, 4, 3, 5), 16)[0]
    kept = uniform_kept(space, "pairs")
    penalty = CostPenalty(space, [table], {"parameters": 1.0}, 1.0, kept)
    topology = EdgeCombinations(space, "pairs", normalise=True).to(META)
    candidates = space.full_candidates
    shape = (len(space.cell.edges), len(space.operations))
    weights = {kind: torch.ones(shape, device=META) for kind in space.kinds}
    penalty(weights, candidates)
    with Transfers() as calls:
        penalty(weights, candidates)
        penalty(weights, candidates, kept_probabilities(topology, 1.0))
    assert calls == []
