"""How a gradient is taken: device, precision, accumulation, and averaging over processes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dots.common.devices import runs_triton
from dots.common.errors import UserError
from dots.data.batch import Batch
from dots.training.compile import Compiler
from dots.training.graphs import Graphs
from dots.training.processes import Processes

Module = TypeVar("Module", bound=nn.Module)
Objective = Callable[[Batch], tuple[Tensor, Tensor]]
"""From a batch to (loss, logits)."""


@dataclass(frozen=True)
class StepResult:
    """What a step leaves for the record, on the device: nothing here waits for it."""

    loss: Tensor  # mean over the local images
    correct: Tensor  # images classified correctly
    images: int


class Engine:
    """Takes gradients the same way for every stage.

    `accumulate` splits each batch into so many parts whose gradients add up to the batch's
    (batch statistics are then those of a part). `precision` is "32", "bf16" for autocast to
    bfloat16, or "64". `class_weights` [classes] weigh the loss. `compiler` compiles networks,
    `graphs` capture steps.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        accumulate: int = 1,
        precision: str = "32",
        class_weights: Tensor | None = None,
        compiler: Compiler | None = None,
        graphs: Graphs | None = None,
    ) -> None:
        self.processes = processes
        self.accumulate = accumulate
        self.bf16 = precision == "bf16"
        self.double = precision == "64"
        self.compiler = compiler
        self.graphs = graphs
        if self.double and processes.device.type == "mps":
            raise UserError("mps has no float64: use --device cpu, or precision=32")
        self.class_weights = None if class_weights is None else class_weights.to(processes.device)

    @property
    def device(self) -> torch.device:
        return self.processes.device

    def place(self, module: Module) -> Module:
        """`module` on the device, in float64 where that is the precision."""
        module.to(self.device)
        return module.double() if self.double else module

    def place_network(self, network: Module) -> Module:
        """A network that takes images, placed, and compiled where that is asked for."""
        self.place(network)
        if self._image_by_channel:
            network.to(memory_format=torch.contiguous_format)
        if self.compiler is not None:
            self.compiler(network)
        return network

    def input(self, images: Tensor) -> Tensor:
        """Images, which come in float32 and channels-last, as the networks take them."""
        if self._image_by_channel:
            images = images.contiguous()
        return images.double() if self.double else images

    @property
    def _image_by_channel(self) -> bool:
        """Whether maps are NCHW: where PyTorch's depthwise kernels serve, which know no other."""
        return self.device.type == "cuda" and not self.bf16 and not runs_triton(self.device)

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of a forward pass; parameters stay in float32."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def cross_entropy(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The classification loss, in float32 at least."""
        wide = logits if logits.dtype == torch.float64 else logits.float()
        weights = None if self.class_weights is None else self.class_weights.to(wide.dtype)
        losses = F.cross_entropy(
            wide, labels, weight=weights, label_smoothing=smoothing, reduction="none"
        )
        return losses.mean()  # of images, so that parts of a batch add up to it

    def step(
        self,
        step: Callable[..., StepResult],
        *batches: Batch | None,
        key: Hashable,
        why: str = "",
    ) -> StepResult:
        """`step(*batches)`, captured where that is possible; see `Graphs.run`."""
        if self.graphs is None:
            return step(*batches)
        result = self.graphs.run(step, batches, (self.accumulate, key), why)
        assert isinstance(result, StepResult)
        return result

    def forget_steps(self) -> None:
        """Before steps that may do something else than those so far."""
        if self.graphs is not None:
            self.graphs.forget()

    def number(self, value: float, before: float | Tensor | None = None) -> float | Tensor:
        """`value` for the next step, which may have been captured: then in a tensor.

        That is `before`, what this gave for an earlier step, with the new value.
        """
        if self.graphs is None:
            return value
        if isinstance(before, Tensor):
            return before.fill_(value)
        return torch.full((), value, dtype=torch.float64, device=self.device)

    def gradients(
        self, batch: Batch, objective: Objective, parameters: Sequence[nn.Parameter]
    ) -> StepResult:
        """Set `.grad` of `parameters`, and of no others, to the gradient on `batch`.

        The objective is the mean over the batch of all processes; parameters that it does
        not use keep no gradient.
        """
        for parameter in parameters:
            parameter.grad = None
        images = len(batch.labels)
        loss, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for part in self._parts(batch):
            with self.autocast():
                value, logits = objective(part)
            share = len(part.labels) / images
            if value.requires_grad:  # not where all that was sampled for α is Zero
                torch.autograd.backward(value * share, inputs=list(parameters))
            loss += value.detach().to(loss.dtype) * share
            correct += (logits.detach().argmax(1) == part.labels).sum()
        average_gradients(self.processes, parameters, self._weight(batch))
        return StepResult(loss, correct, images)

    def renew_statistics(self, network: nn.Module, batches: Iterable[Batch]) -> None:
        """Give batch norms the mean statistics of `batches`, instead of those of training.

        After few steps, the running ones are still those of weights that have changed since.
        """
        images = (part.images for batch in batches for part in self._parts(batch))
        # another momentum for some batches is not worth a compilation
        eager = nullcontext() if self.compiler is None else torch.compiler.set_stance("force_eager")
        with eager, self.autocast():
            update_bn(images, network)
        self.processes.average_statistics(network)

    def _weight(self, batch: Batch) -> float:
        """This process's share of the global batch, times the number of processes."""
        return len(batch.labels) * self.processes.world / batch.total

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        whole = self.input(batch.images)
        images, labels = whole.chunk(self.accumulate), batch.labels.chunk(self.accumulate)
        for part_images, part_labels in zip(images, labels, strict=True):
            yield batch.part(part_images, part_labels)


def average_gradients(
    processes: Processes, parameters: Iterable[nn.Parameter], weight: float = 1.0
) -> None:
    """Replace each gradient by its mean over all processes, weighted by `weight` of each.

    One flat transfer. A gradient that is absent on this process counts as zero: which
    operations run is drawn from the same seed everywhere, so it is absent on all.
    """
    if processes.world > 1:
        processes.mean_of_all(p.grad.mul_(weight) for p in parameters if p.grad is not None)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No weight of `module` asks for a gradient: the backward pass then skips them all."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float | None) -> None:
    """Scale the gradients down to the norm `largest`, without waiting for the device."""
    if largest is not None:
        nn.utils.clip_grad_norm_(list(parameters), largest, foreach=None)
