"""SGD for the weights on a closed-form schedule, Adam for the architecture.

On a GPU both are PyTorch's fused ones, with the learning rate of w in a tensor: a step neither
waits for the device nor holds a number that a captured step would repeat for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dots.recipe.settings import SearchSettings, StageSettings, TrainSettings
from dots.training.engine import clip_gradients
from dots.training.schedules import cosine, linear


class WeightOptimiser:
    """SGD with clipped gradients; the learning rate is a function of the position alone.

    The position counts epochs; where a rate changes with every step it has a fraction. Without
    `decay_norms` vectors (scales and shifts of norms, biases) are not decayed.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        rate: Callable[[float], float],
        *,
        momentum: float,
        weight_decay: float,
        clip: float | None,
        nesterov: bool = False,
        decay_norms: bool = True,
    ) -> None:
        self.parameters = list(parameters)
        self.rate = rate
        self.clip = clip
        groups: list[dict[str, Any]] = [{"params": self.parameters}]
        if not decay_norms:
            vectors = [p for p in self.parameters if p.ndim < 2]
            matrices = [p for p in self.parameters if p.ndim >= 2]
            groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        fused = on_a_gpu(self.parameters)
        self.lr = rate(0)
        self._rate: Tensor | None = None
        self.sgd = torch.optim.SGD(
            groups,
            lr=self.lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
            fused=fused or None,
            foreach=not fused,  # one call for all weights, and the same bits, on a CPU too
        )
        if fused:
            device = self.parameters[0].device
            self._rate = torch.full((), self.lr, dtype=torch.float32, device=device)
            self._use(self._rate)

    def set_epoch(self, epoch: float) -> None:
        """Use the learning rate of this epoch, or of a moment in it."""
        self.lr = self.rate(epoch)
        self._use(self.lr if self._rate is None else self._rate.fill_(self.lr))

    def _use(self, rate: float | Tensor) -> None:
        for group in self.sgd.param_groups:
            group["lr"] = rate

    def apply(self) -> None:
        """Clip the gradients that are there and take the step."""
        clip_gradients(self.parameters, self.clip)
        if self._rate is not None:
            self._begin_momentum()
        self.sgd.step()

    def _begin_momentum(self) -> None:
        """A zero for what has none yet: the fused SGD takes all weights to have it, or none."""
        for parameter in self.parameters:
            if parameter.grad is not None and self.sgd.defaults["momentum"]:
                state = self.sgd.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)

    def state(self) -> dict[str, Any]:
        """The same from every device: the learning rate is a number."""
        state = self.sgd.state_dict()
        groups = [{**group, "lr": self.lr} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def load_state(self, state: dict[str, Any]) -> None:
        load_on_this_device(self.sgd, state)
        self.lr = float(state["param_groups"][0]["lr"])
        self._use(self.lr if self._rate is None else self._rate.fill_(self.lr))


def warmed_up(settings: StageSettings, epoch: float, rate: float) -> float:
    """lr·(e+1)/w in the first w epochs e of a stage, the linear warm-up; then `rate`."""
    if epoch < settings.warmup_epochs:
        return settings.lr * (epoch + 1) / settings.warmup_epochs
    return rate


def search_rate(settings: SearchSettings) -> Callable[[float], float]:
    """The warm-up and the cosine of a search stage: epoch -> learning rate."""
    horizon = settings.lr_epochs or settings.epochs

    def rate(epoch: float) -> float:
        position = settings.lr_offset + epoch
        return warmed_up(settings, epoch, cosine(settings.lr, settings.lr_min, position, horizon))

    return rate


def training_rate(settings: TrainSettings) -> Callable[[float], float]:
    """The warm-up, then a cosine or a line over all epochs.

    With `anneal = "step"` the line of the warm-up goes from lr/25 to lr, and what follows
    starts at its end: with "linear" a triangle (OneCycle's, Smith 2018).
    """
    if settings.anneal == "step":
        return _one_cycle(settings)

    def rate(epoch: float) -> float:
        falling = cosine(settings.lr, settings.lr_min, epoch, settings.epochs)
        if settings.schedule == "linear":
            falling = linear(settings.lr, settings.lr_min, epoch, settings.epochs + 1)
        return warmed_up(settings, epoch, falling)

    return rate


def _one_cycle(settings: TrainSettings) -> Callable[[float], float]:
    warmup, left = settings.warmup_epochs, settings.epochs - settings.warmup_epochs

    def rate(epoch: float) -> float:
        if epoch < warmup:
            return settings.lr * (1 + 24 * epoch / warmup) / 25
        if settings.schedule == "linear":
            return linear(settings.lr, settings.lr_min, epoch - warmup, left + 1)
        return cosine(settings.lr, settings.lr_min, epoch - warmup, left)

    return rate


def search_weight_optimiser(
    parameters: Iterable[nn.Parameter], settings: SearchSettings, *, nesterov: bool = False
) -> WeightOptimiser:
    """The SGD of a search stage."""
    return WeightOptimiser(
        parameters,
        search_rate(settings),
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        nesterov=nesterov,
    )


class ArchitectureOptimiser:
    """Adam on architecture parameters, with optional clipping."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: SearchSettings) -> None:
        self.parameters = list(parameters)
        self.clip = settings.arch_clip
        self.adam = torch.optim.Adam(
            self.parameters,
            lr=settings.arch_lr,
            betas=settings.arch_betas,
            weight_decay=settings.arch_weight_decay,
            fused=on_a_gpu(self.parameters) or None,
            capturable=on_a_gpu(self.parameters),
        )

    def apply(self) -> None:
        """Clip the gradients that are there and take the step."""
        clip_gradients(self.parameters, self.clip)
        self.adam.step()

    def state(self) -> dict[str, Any]:
        return self.adam.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        load_on_this_device(self.adam, state)


def on_a_gpu(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether these are where steps may be captured."""
    return bool(parameters) and parameters[0].device.type == "cuda"


def load_on_this_device(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state, of whatever device; how a step is computed stays as this one's."""
    own = [
        {name: group[name] for name in ("fused", "capturable", "foreach") if name in group}
        for group in optimiser.param_groups
    ]
    groups = [{**group, **kept} for group, kept in zip(state["param_groups"], own, strict=True)]
    optimiser.load_state_dict({**state, "param_groups": groups})
