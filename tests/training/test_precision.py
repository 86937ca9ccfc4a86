"""Fast and plain kernels, and float32, float64 and bfloat16, in whole stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dots.nas.random_cell import random_genotype
from dots.nas.strategies.darts import Darts
from dots.networks.derived import DerivedNetwork
from dots.recipe.settings import TrainSettings
from dots.space.retain import retain
from dots.training.stage import TrainingStage
from helpers import searches, small
from helpers.stages import (
    GRADIENT,
    SMALL,
    agree_in_a_run,
    annealed,
    apart,
    batches,
    searched,
)
from helpers.stages import MEDIUM as SPACE

PRECISIONS = pytest.mark.parametrize("precision", ["32", "bf16", "64"])


# A gradient jumps where an activation crosses zero, and in some runs one of some million
# activations is so near to zero that rounding decides: weights moved by one unit in the last
# place then differ as much. One run of several without such an event shows the agreement.


def test_alpha_is_the_same_to_1e_5_after_20_steps_on_the_plain_kernels() -> None:
    def distance(seed: int) -> float:
        plain, fast = (
            searched("darts", 20, seed, space=SMALL, fast=f, lr=0.025, arch_lr=3e-4)
            for f in (False, True)
        )
        return apart(plain.architecture_parameters(), fast.architecture_parameters())

    agree_in_a_run(distance, 20 * 3e-4)


def test_beta_is_the_same_to_1e_5_after_20_steps_on_the_plain_kernels() -> None:
    def distance(seed: int) -> float:
        plain, fast = (annealed(20, seed, fast=f, arch_lr=3e-4) for f in (False, True))
        return apart(plain.architecture, fast.architecture)

    agree_in_a_run(distance, 20 * 3e-4)


@pytest.mark.parametrize("name", GRADIENT)
def test_in_float64_the_plain_kernels_give_the_same_alpha_and_cell(name: str) -> None:
    plain, fast = (searched(name, 2, fast=f, precision="64") for f in (False, True))
    assert {p.dtype for p in plain.supernet.parameters()} == {torch.float64}
    assert {p.dtype for p in plain.architecture_parameters()} == {torch.float64}
    assert apart(plain.architecture_parameters(), fast.architecture_parameters()) <= 1e-10
    assert plain.derive() == fast.derive()
    assert retain(SPACE, plain.scores(), "group-v2") == retain(SPACE, fast.scores(), "group-v2")


def test_in_float64_the_plain_kernels_give_the_same_topology() -> None:
    plain, fast = (annealed(8, fast=f, precision="64", arch_lr=0.1) for f in (False, True))
    assert {p.dtype for p in plain.architecture} == {torch.float64}
    assert apart(plain.architecture, fast.architecture) <= 1e-10
    assert plain.genotype() == fast.genotype()


def test_bf16_reaches_the_scores_of_float32_to_a_hundredth() -> None:
    wide, narrow = (
        searched("darts", 20, space=SMALL, precision=p, arch_lr=0.01) for p in ("32", "bf16")
    )
    start = searched("darts", 0, space=SMALL)
    for kind in SPACE.kinds:
        before, a, b = (torch.tensor(s.scores()[kind]) for s in (start, wide, narrow))
        assert (a - before).abs().max() > 0.01
        torch.testing.assert_close(a, b, rtol=0, atol=0.01)


def test_in_bf16_the_features_are_those_of_float32_to_some_hundredths() -> None:
    """Gradients of β are not: they are small differences of large sums."""
    outputs = []
    for precision in ("32", "bf16"):
        search = searches.search(Darts, SPACE, precision=precision)
        with search.engine.autocast(), torch.no_grad():
            maps = small.cell_outputs(
                search.supernet, small.batch().images, search.mixtures("weights")
            )
        outputs.append(maps[-1].float())
    wide, narrow = outputs
    assert 0 < (wide - narrow).norm() <= 0.05 * wide.norm()


@PRECISIONS
@pytest.mark.parametrize("fast", [False, True])
def test_statistics_and_parameters_have_their_type(precision: str, fast: bool) -> None:
    expected = torch.float64 if precision == "64" else torch.float32
    search = searched("darts", 1, precision=precision, fast=fast)
    stage = annealed(1, precision=precision, fast=fast)
    modules = [search.supernet, search.alpha, stage.supernet, stage.topology, stage.gates]
    optimisers = [search.weight_optimiser.sgd, search.architecture_optimiser.adam]
    tensors = [t for module in modules for t in module.state_dict().values()]
    for optimiser in optimisers:
        tensors += [v for state in optimiser.state.values() for v in state.values() if v.dim()]
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {expected}
    assert all(torch.isfinite(tensor).all() for tensor in floats)


def test_bf16_computes_in_bfloat16() -> None:
    """Or the tolerances above would say nothing."""
    search = searches.search(Darts, SPACE, precision="bf16")
    with search.engine.autocast():
        outputs = small.cell_outputs(
            search.supernet, small.batch().images, search.mixtures("weights")
        )
    assert outputs[-1].dtype == torch.bfloat16


@PRECISIONS
def test_the_training_has_each_precision(precision: str) -> None:
    settings = TrainSettings(epochs=1, cells=3, channels=4, batch=8, lr=0.1, drop_path=0.2)
    engine = small.engine(precision=precision)
    network = DerivedNetwork(random_genotype(SPACE, "pairs", 0), small.SHAPE)
    own: Any = small.FewBatches()
    stage = TrainingStage(engine.place(network), settings, engine, own)
    stage.set_epoch(0)
    losses = [float(stage.step(0, i, (batch, None)).loss) for i, batch in enumerate(batches(3, 0))]
    expected = torch.float64 if precision == "64" else torch.float32
    assert all(loss > 0 for loss in losses)
    assert {t.dtype for t in network.state_dict().values() if t.is_floating_point()} == {expected}
