"""Eqs. (1), (3), (8) against the naive supernet, and against derived networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import textbook
from dots.common.errors import UserError
from dots.networks.body import Shape
from dots.networks.derived import DerivedCell, DerivedNetwork
from dots.networks.supernet import Mixture, SearchCell, Supernet
from dots.space.discretise import build_genotype
from dots.space.search_space import SearchSpace, darts_space, nasbench201_space
from helpers import small

FAST = pytest.mark.parametrize("fast", [False, True])


def _copy(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters in structural order; they must agree in number and shape."""
    pairs = zip(source.parameters(), target.parameters(), strict=True)
    with torch.no_grad():
        for a, b in pairs:
            b.copy_(a)


@FAST
@pytest.mark.parametrize("edges", [False, True])
def test_loss_and_gradients_equal_the_textbook(fast: bool, edges: bool) -> None:
    net = small.supernet(fast=fast).double()
    naive = textbook.Supernet(darts_space(), 4, 3, 5).double()
    _copy(net, naive)
    batch = small.batch()
    images = batch.images.double()
    mixtures = small.random_mixtures(net, dtype=torch.float64, edges=edges)
    loss = nn.functional.cross_entropy(net(images, mixtures), batch.labels)
    plain = {kind: (m.operations, m.edges) for kind, m in mixtures.items()}
    expected = nn.functional.cross_entropy(naive(images, plain), batch.labels)
    torch.testing.assert_close(loss, expected)
    outside = [t for m in mixtures.values() for t in (m.operations, m.edges) if t is not None]
    ours = torch.autograd.grad(loss, [*net.parameters(), *outside])
    theirs = torch.autograd.grad(expected, [*naive.parameters(), *outside])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


def test_batch_statistics_equal_the_textbook() -> None:
    net = small.supernet(fast=True).double()
    naive = textbook.Supernet(darts_space(), 4, 3, 5).double()
    _copy(net, naive)
    images = small.batch().images.double()
    mixtures = small.random_mixtures(net, dtype=torch.float64)
    net(images, mixtures)
    naive(images, {kind: (m.operations, m.edges) for kind, m in mixtures.items()})
    for a, b in zip(net.buffers(), naive.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@FAST
@pytest.mark.parametrize("space", [darts_space(), darts_space(2), nasbench201_space()])
def test_every_parameter_and_every_weight_receives_a_gradient(
    space: SearchSpace, fast: bool
) -> None:
    net = small.supernet(space, fast=fast)
    mixtures = small.random_mixtures(net)
    batch = small.batch()
    nn.functional.cross_entropy(net(batch.images, mixtures), batch.labels).backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    for mixture in mixtures.values():
        assert mixture.operations.grad is not None
        real = [i for i, op in enumerate(space.operations) if op != "none"]
        assert (mixture.operations.grad[:, real] != 0).all()


@FAST
def test_inactive_operations_do_not_run(fast: bool) -> None:
    net = small.supernet(fast=fast)
    calls: list[str] = []
    for name, module in net.named_modules():
        if name.endswith(tuple(f"operations.{i}" for i in range(8))):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    active = tuple(tuple(op == 4 for op in range(8)) for _ in range(14))
    mixtures = {
        kind: Mixture(m.operations, m.edges, active)
        for kind, m in small.random_mixtures(net).items()
    }
    net(small.batch().images, mixtures)
    assert len(calls) == 14 * 3
    assert all(name.endswith("operations.4") for name in calls)


def test_an_active_operation_of_weight_zero_runs_and_its_weight_has_a_gradient() -> None:
    net = small.supernet()
    weights = torch.zeros(14, 8, requires_grad=True)
    mixtures = {kind: Mixture(weights) for kind in net.candidates}
    small.cell_outputs(net, small.batch().images, mixtures)[-1].square().mean().backward()
    assert weights.grad is not None


@FAST
def test_a_node_without_operations_is_zero(fast: bool) -> None:
    net = small.supernet(fast=fast)
    active = tuple((False,) * 8 for _ in range(14))
    mixtures = {k: Mixture(torch.ones(14, 8), active=active) for k in net.candidates}
    outputs = small.cell_outputs(net, small.batch(size=7).images, mixtures)
    assert [tuple(x.shape[2:]) for x in outputs] == [(7, 7), (4, 4), (2, 2)]
    assert not any(x.any() for x in outputs)


WITHOUT_POOLING = ["skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]


def _kept(space: SearchSpace, seed: int) -> dict[str, dict[int, tuple[str]]]:
    generator = torch.Generator().manual_seed(seed)
    kept: dict[str, dict[int, tuple[str]]] = {}
    for kind in space.kinds:
        kept[kind] = {}
        for incoming in space.cell.incoming:
            for place in torch.randperm(len(incoming), generator=generator)[:2].tolist():
                drawn = int(torch.randint(len(WITHOUT_POOLING), (), generator=generator))
                kept[kind][incoming[place]] = (WITHOUT_POOLING[drawn],)
    return kept


def _copy_into_derived(net: Supernet, derived: DerivedNetwork, kept: dict) -> None:
    """Give the derived network the weights of the supernet's kept operations."""
    for part in ("stem", "classifier"):
        getattr(derived.body, part).load_state_dict(getattr(net.body, part).state_dict())
    for searched, cell in zip(net.body.cells, derived.body.cells, strict=True):
        assert isinstance(searched, SearchCell)
        assert isinstance(cell, DerivedCell)
        _copy_weights(searched.preprocess, cell.preprocess)
        operations = itertools.chain.from_iterable(cell.nodes)
        for index in sorted(kept[searched.kind]):
            name = kept[searched.kind][index][0]
            place = net.space.operations.index(name)
            _copy_weights(searched.edges[index].operations[place], next(operations))


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Convolutions alone: the derived norms are affine, which starts as the identity."""
    own = dict(target.named_parameters())
    with torch.no_grad():
        for name, value in source.named_parameters():
            own[name].copy_(value)


@FAST
@pytest.mark.parametrize("seed", range(3))
def test_one_hot_mixture_equals_the_derived_network(seed: int, fast: bool) -> None:
    space = darts_space()
    net = small.supernet(space, seed, fast=fast).double()
    kept = _kept(space, seed)
    genotype = build_genotype(space, kept)
    derived = DerivedNetwork(genotype, small.SHAPE, fast=fast).double()
    _copy_into_derived(net, derived, kept)
    mixtures = {}
    for kind in space.kinds:
        columns = [space.operations.index(kept[kind].get(e, ("none",))[0]) for e in range(14)]
        edges = torch.tensor([float(e in kept[kind]) for e in range(14)], dtype=torch.float64)
        mixtures[kind] = Mixture(small.one_hot(columns, 8), edges)
    images = small.batch().images.double()
    searched = small.cell_outputs(net, images, mixtures)[-1]
    found = derived.features(images)[-1]
    torch.testing.assert_close(searched, found, rtol=1e-9, atol=1e-9)


@FAST
def test_recomputing_cells_changes_nothing(fast: bool) -> None:
    results: list[Sequence[Tensor]] = []
    for low_memory in (False, True):
        net = small.supernet(fast=fast, low_memory=low_memory).double()
        mixtures = small.random_mixtures(net)
        batch = small.batch()
        logits = net(batch.images.double(), mixtures)
        loss = nn.functional.cross_entropy(logits, batch.labels)
        loss.backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        outside = [m.operations.grad for m in mixtures.values() if m.operations.grad is not None]
        results.append([loss.detach(), *gradients, *outside, *net.buffers()])
    for a, b in zip(*results, strict=True):  # up to the order in which gradients are added up
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_smaller_supernet_has_fewer_weights() -> None:
    candidates = dict.fromkeys(("normal", "reduce"), (("none", "sep_conv_3x3"),) * 14)
    narrow = small.supernet(candidates=candidates)
    assert {len(edge.operations) for cell in narrow.body.cells for edge in cell.edges} == {2}
    full = sum(p.numel() for p in small.supernet().parameters())
    assert sum(p.numel() for p in narrow.parameters()) < full / 2


def test_candidates_may_differ_in_number() -> None:
    names = [("sep_conv_3x3",), ("skip_connect", "max_pool_3x3", "none")] * 7
    net = small.supernet(candidates={kind: tuple(names) for kind in ("normal", "reduce")})
    logits = net(small.batch().images, small.random_mixtures(net))
    assert logits.shape == (6, 5)
    assert torch.isfinite(logits).all()


def test_an_edge_without_candidates_is_refused() -> None:
    candidates = dict.fromkeys(("normal", "reduce"), ((),) * 14)
    with pytest.raises(UserError, match="at least one candidate"):
        small.supernet(candidates=candidates)


@pytest.mark.parametrize("stem", ["cifar", "pooled", "strided", "imagenet"])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("cells", [1, 2, 5])
def test_any_channels_cells_and_sizes(channels: int, cells: int, stem: str) -> None:
    shape = Shape(cells, 4, channels, 3, stem=stem)  # type: ignore[arg-type]
    net = Supernet(darts_space(nodes=3), shape)
    images = torch.randn(2, channels, 37, 45)
    assert net(images, small.random_mixtures(net)).shape == (2, 3)
