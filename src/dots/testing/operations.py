"""What every operation must keep to."""

from __future__ import annotations

import copy
from inspect import getattr_static

import pytest
import torch
from torch import Tensor, nn

from dots.networks.operations.candidates import OperationStyle
from dots.networks.operations.source import Parts, Source, complete
from dots.space.search_space import Operation

DERIVED = OperationStyle(affine=True, pool_norm=False)
SEARCHED = OperationStyle(affine=False, pool_norm=True)


def computed(operation: nn.Module, x: Tensor, *, fast: bool = False) -> Tensor:
    """What an operation makes of features [B, C, H, W], its last linear step taken."""
    return complete(operation(Source(x, fast=fast)), fast=fast)


class OperationContract:
    """The tests of one operation: subclass it in a test file, and set `operation`.

    That is what a space's `own`, or an entry point, has: it makes the module from the channels,
    the stride and the style.
    """

    operation: Operation

    def make(
        self, channels: int = 8, stride: int = 1, style: OperationStyle = DERIVED
    ) -> nn.Module:
        """The module, with weights that are always the same."""
        build = getattr_static(self, "operation")  # a function must not become a method
        torch.manual_seed(0)
        made = build(channels, stride, style)
        assert isinstance(made, nn.Module)
        return made

    @pytest.mark.parametrize("size", [1, 7, 8])
    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("channels", [4, 8])
    def test_it_keeps_the_width_and_rounds_the_halved_size_up(
        self, channels: int, stride: int, size: int
    ) -> None:
        operation = self.make(channels, stride)
        x = torch.randn(2, channels, size, size)
        assert isinstance(operation(Source(x, fast=False)), Parts)
        halved = -(-size // stride)
        assert computed(operation, x).shape == (2, channels, halved, halved)

    @pytest.mark.parametrize("stride", [1, 2])
    def test_fast_and_plain_agree_in_value_and_gradient(self, stride: int) -> None:
        operation = self.make(8, stride).double()
        torch.manual_seed(1)
        x = torch.randn(3, 8, 9, 9, dtype=torch.float64, requires_grad=True)
        inputs, found = [x, *operation.parameters()], []
        for fast in (False, True):
            torch.manual_seed(2)
            y = computed(operation, x, fast=fast)
            seed = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
            gradients: tuple[Tensor | None, ...] = ()
            if y.requires_grad:  # noise is of nothing
                gradients = torch.autograd.grad(y, inputs, seed, allow_unused=True)
            found.append((y, *(g for g in gradients if g is not None)))
        for plain, quick in zip(*found, strict=True):
            torch.testing.assert_close(plain, quick, rtol=1e-8, atol=1e-9)

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("style", [DERIVED, SEARCHED])
    def test_every_weight_gets_a_gradient(self, stride: int, style: OperationStyle) -> None:
        operation = self.make(8, stride, style)
        torch.manual_seed(1)
        y = computed(operation, torch.randn(4, 8, 8, 8, requires_grad=True))
        if y.requires_grad:  # noise is of nothing
            torch.autograd.backward((y**3).sum())
        for name, weight in operation.named_parameters():
            assert weight.grad is not None, f"{name} is not used"
            assert torch.isfinite(weight.grad).all(), name

    def test_its_norms_learn_nothing_in_a_search(self) -> None:
        for module in self.make(8, 1, SEARCHED).modules():
            if isinstance(module, nn.BatchNorm2d):
                assert not module.affine, "build norms with affine=style.affine"

    @pytest.mark.parametrize("stride", [1, 2])
    def test_it_is_counted_without_being_computed(self, stride: int) -> None:
        with torch.device("meta"):
            operation = self.make(8, stride).eval()
            assert computed(operation, torch.empty(1, 8, 8, 8)).is_meta

    def test_its_state_is_all_there_is_of_it(self) -> None:
        first, x = self.make(), torch.randn(4, 8, 8, 8)
        computed(first, x)  # moves what a norm remembers
        second = self.make()
        second.load_state_dict(first.state_dict())
        answers = []
        for operation in (first, second, copy.deepcopy(first)):
            torch.manual_seed(1)
            answers.append(computed(operation.eval(), x))
        assert torch.equal(answers[0], answers[1])
        assert torch.equal(answers[0], answers[2])
