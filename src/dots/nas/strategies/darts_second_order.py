"""DARTS, second order (Liu et al., ICLR 2019): α looks one step of w ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from dots.data.batch import Batch
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.shared.unrolled import Descent, unrolled_gradient, untouched_statistics
from dots.training.engine import StepResult


class DartsSecondOrder(Darts):
    """DARTS whose α descends the validation loss at w after its next step (its Eqs. 7 and 8).

    Per step α from halves B and A, then w on half A: five passes instead of two. The step that
    is looked ahead uses the momentum so far and the gradient before clipping. It leaves w, its
    momentum and the running statistics of batch norms as they were.
    """

    name: ClassVar[str] = "darts-2nd"
    first_order: ClassVar[bool] = False

    def why_steps_differ(self, epoch: int) -> str:
        return f"{self.name} goes back to a random state within each step"

    def step(self, epoch: int, batch: Batch, held_out: Batch | None) -> StepResult:
        if held_out is not None:
            self.unrolled_step(batch, held_out)
        return self.weight_step(batch)

    def unrolled_step(self, batch: Batch, held_out: Batch) -> None:
        """One step of α on `held_out`, through the step of w on `batch`."""
        parameters = self.architecture_parameters()
        gradients = self.unrolled_gradient(batch, held_out)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.architecture_optimiser.apply()

    def unrolled_gradient(self, batch: Batch, held_out: Batch) -> list[Tensor]:
        """The gradient of that step, for each architecture parameter."""

        def objective(part: Batch) -> tuple[Tensor, Tensor]:
            logits = self.supernet(part.images, self.mixtures("architecture"))
            return self.engine.cross_entropy(logits, part.labels), logits

        def budgeted(part: Batch) -> tuple[Tensor, Tensor]:
            loss, logits = objective(part)
            return self.regularised(loss), logits

        def train(wanted: Sequence[nn.Parameter]) -> StepResult:
            return self.engine.gradients(batch, objective, wanted)

        def validate(wanted: Sequence[nn.Parameter]) -> StepResult:
            return self.engine.gradients(held_out, budgeted, wanted)

        with untouched_statistics(self.supernet):
            return unrolled_gradient(
                self.weight_optimiser.parameters,
                self.architecture_parameters(),
                train,
                validate,
                self._descent(),
            )

    def _descent(self) -> Descent:
        sgd = self.weight_optimiser.sgd
        return Descent(
            lr=self.weight_optimiser.lr,
            momentum=self.settings.momentum,
            weight_decay=self.settings.weight_decay,
            buffers=[
                sgd.state.get(parameter, {}).get("momentum_buffer")
                for parameter in self.weight_optimiser.parameters
            ],
        )
