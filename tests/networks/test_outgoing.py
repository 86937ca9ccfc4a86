"""All edges of a node at once: what the modules give, one by one, in value and gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dots.networks import supernet as module
from dots.networks.supernet import Mixture, Supernet
from dots.space.search_space import Candidates, SearchSpace, darts_space, named_space
from dots.testing.searching import batch_of
from helpers import contracts, small

SPACE = darts_space(nodes=3)
EIGHT = SPACE.operations
CASES: dict[str, tuple[SearchSpace, tuple[tuple[str, ...], ...] | None]] = {
    "all": (SPACE, None),
    "retained": (SPACE, (("skip_connect", "sep_conv_3x3"),) * 9),
    "others on each edge": (
        SPACE,
        tuple((EIGHT[i % 4], EIGHT[4 + i % 4]) for i in range(9)),
    ),
    "without pooled norms": (named_space("nasbench201"), None),
    "noise": (named_space("s4"), None),
}


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "joins", lambda x: True)


def nets(name: str, *, low_memory: bool = False) -> list[Supernet]:
    """The plain one, and one that takes edges together, with the same weights, in float64."""
    space, edges = CASES[name]
    candidates: Candidates | None = edges and dict.fromkeys(space.kinds, edges)
    made = [
        small.supernet(space, candidates=candidates, fast=fast, low_memory=low_memory).double()
        for fast in (False, True)
    ]
    made[1].load_state_dict(made[0].state_dict())
    return made


def step(net: Supernet, mixtures: Mapping[str, Mixture]) -> dict[str, Tensor]:
    """Logits, and gradients of weights, mixing weights and images, by name."""
    batch = small.batch(images=4)
    images = batch.images.double().requires_grad_()
    torch.manual_seed(0)
    logits = net(images, mixtures)
    nn.functional.cross_entropy(logits, batch.labels).backward()
    found = {"logits": logits, "images": images.grad}
    found |= {f"w.{name}": parameter.grad for name, parameter in net.named_parameters()}
    for kind, mixture in mixtures.items():
        found[f"{kind} operations"] = mixture.operations.grad
        if mixture.edges is not None:
            found[f"{kind} edges"] = mixture.edges.grad
    return {name: value for name, value in found.items() if value is not None}


def assert_alike(plain: dict[str, Tensor], joined: dict[str, Tensor]) -> None:
    assert plain.keys() == joined.keys()
    for name, value in plain.items():
        torch.testing.assert_close(joined[name], value, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("name", [name for name in CASES if name != "noise"])
def test_values_gradients_and_statistics(name: str, edges: bool) -> None:
    plain, joined = nets(name)
    results = [
        step(net, small.random_mixtures(plain, dtype=torch.float64, edges=edges))
        for net in (plain, joined)
    ]
    assert_alike(*results)
    assert_alike(dict(plain.named_buffers()), dict(joined.named_buffers()))


def test_what_does_not_run_has_no_gradient() -> None:
    plain, joined = nets("all")
    results = []
    for net in (plain, joined):
        mixtures = small.random_mixtures(net, dtype=torch.float64)
        draw = torch.Generator().manual_seed(1)
        flags = (torch.rand(9, 8, generator=draw) < 0.4).tolist()
        flags[0] = flags[1] = [False] * 8  # a node without a running operation
        active = tuple(map(tuple, flags))
        results.append(
            step(net, {k: Mixture(m.operations, m.edges, active) for k, m in mixtures.items()})
        )
    assert_alike(*results)


def test_cells_that_are_computed_again_count_once() -> None:
    plain, joined = nets("retained", low_memory=True)
    results = [
        step(net, small.random_mixtures(plain, dtype=torch.float64)) for net in (plain, joined)
    ]
    assert_alike(*results)
    assert_alike(dict(plain.named_buffers()), dict(joined.named_buffers()))


def test_operations_of_other_spaces_run_beside() -> None:
    _, net = nets("noise")
    found = step(net, small.random_mixtures(net, dtype=torch.float64))
    assert bool(torch.isfinite(found["logits"]).all())


def test_an_evaluation_takes_the_running_statistics() -> None:
    plain, joined = nets("all")
    mixtures = small.random_mixtures(plain, dtype=torch.float64)
    images = small.batch(images=4).images.double()
    values = [net.eval()(images, mixtures) for net in (plain, joined)]
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("name", ["p-darts", "snas", "pc-darts", "darts-minus", "darts-2nd"])
def test_methods_with_edges_of_their_own(name: str) -> None:
    """They learn as on the plain kernels."""
    alphas = []
    for fast in (False, True):
        search = contracts.build(name, fast=fast, precision="64")
        torch.manual_seed(0)
        held_out = batch_of("B", 0, 0)
        search.step(0, batch_of("A", 0, 0), None if search.one_level else held_out)
        alphas.append(contracts.copied(list(search.alpha.parameters())))
    for one, other in zip(*alphas, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_a_single_value_is_not_normalised() -> None:
    _, net = nets("retained")
    with pytest.raises(ValueError, match="more than one value"):
        net(torch.zeros(1, 3, 2, 2).double(), small.random_mixtures(net, dtype=torch.float64))


class Counting(TorchDispatchMode):
    """Counts convolutions and batch norms, and their gradients."""

    calls = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.calls += function.__name__.startswith(("convolution", "native_batch_norm"))
        return function(*args, **(kwargs or {}))


def test_a_step_takes_a_fraction_of_the_calls() -> None:
    counts = []
    for net in nets("all"):
        with Counting() as counting:
            step(net, small.random_mixtures(net, dtype=torch.float64))
        counts.append(counting.calls)
    assert counts[1] < counts[0] / 3
