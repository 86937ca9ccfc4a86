"""On a GPU: a supernet and a derived network do what they do on the CPU in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dots import zoo
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.supernet import Mixture, Supernet
from dots.space.search_space import darts_space

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
SPACE, SIZE, IMAGES = darts_space(nodes=3), 16, 8


@pytest.fixture(autouse=True)
def _in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def results(net: nn.Module, logits: Tensor, others: dict[str, Tensor]) -> dict[str, Tensor]:
    """Logits, gradients and buffers, in float64 on the CPU."""
    nn.functional.cross_entropy(logits, torch.arange(IMAGES, device=logits.device)).backward()
    found = {"logits": logits} | dict(net.named_buffers())
    found |= {f"∂{name}": parameter.grad for name, parameter in net.named_parameters()}
    found |= {f"∂{name}": tensor.grad for name, tensor in others.items()}
    return {
        name: value.detach().double().cpu() for name, value in found.items() if value is not None
    }


def images(device: torch.device, dtype: torch.dtype) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(IMAGES, 3, SIZE, SIZE, generator=draw, dtype=torch.float64)
    return x.to(device, dtype).contiguous(memory_format=torch.channels_last)


def of_supernet(device: torch.device, dtype: torch.dtype, *, fast: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = Supernet(SPACE, Shape(3, 16, 3, 10), fast=fast).to(device, dtype)
    draw = torch.Generator().manual_seed(2)
    shape = len(SPACE.cell.edges), len(SPACE.operations)
    weights = {
        kind: torch.rand(shape, generator=draw, dtype=torch.float64).to(device, dtype)
        for kind in SPACE.kinds
    }
    for tensor in weights.values():
        tensor.requires_grad_()
    mixtures = {kind: Mixture(tensor) for kind, tensor in weights.items()}
    return results(net, net(images(device, dtype), mixtures), weights)


def of_derived(device: torch.device, dtype: torch.dtype, *, fast: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = DerivedNetwork(zoo.load("DARTS_V1").genotype, Shape(3, 20, 3, 10), fast=fast)
    net = net.to(device, dtype)
    return results(net, net(images(device, dtype)), {})


@pytest.mark.parametrize("make", [of_supernet, of_derived])
@pytest.mark.parametrize("fast", [True, False])
def test_on_the_gpu_as_on_the_cpu(make: object, fast: bool) -> None:
    """Where an activation is next to zero its gradient may go either way: some per mille."""
    assert callable(make)
    expected = make(CPU, torch.float64, fast=False)
    found = make(GPU, torch.float32, fast=fast)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = float((found[name] - value).norm() / value.norm().clamp_min(1e-12))
        assert error < 0.02, name
