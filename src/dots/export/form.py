"""How a network is written where a target leaves the choice: precision, opset, sizes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from dots.common.errors import UserError


@dataclass(frozen=True)
class Form:
    """The choices of an export; a target takes those that its `choices` name.

    `half` computes in float16, `int8` in 8-bit integers (static quantisation); images and logits
    stay float32. `opset` is that of ONNX, the exporter's own where it is None. `batch` images
    are taken at a time, any number where it is None; `any_size` takes images of other sides too.
    """

    half: bool = False
    int8: bool = False
    opset: int | None = None
    batch: int | None = None
    any_size: bool = False

    @property
    def exact(self) -> bool:
        """Whether the export has to answer as the network does, but for rounding."""
        return not (self.half or self.int8)

    @property
    def suffix(self) -> str:
        """What the name of a file says of it."""
        return "-half" if self.half else "-int8" if self.int8 else ""

    def check(self, target: str, choices: frozenset[str]) -> None:
        """Raise UserError for a choice that the target has not, or that cannot be."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name not in choices:
                raise UserError(f"--to {target} has no --{field.name.replace('_', '-')}")
        if self.half and self.int8:
            raise UserError("--half and --int8 exclude each other")
        if self.batch is not None and self.batch < 1:
            raise UserError(f"--batch {self.batch}: give a number from 1 up")

    def example(self, shape: tuple[int, ...]) -> Tensor:
        """Images of the network's shape [C, H, W] to trace it with."""
        return torch.zeros(self.batch or 2, *shape)

    def dynamic_shapes(self) -> Any:
        """Which sizes of the images are free, as `torch.export` takes it."""
        free: dict[int, Any] = {} if self.batch else {0: torch.export.Dim("batch")}
        if self.any_size:
            free |= dict.fromkeys((2, 3), torch.export.Dim.AUTO)
        return (free,) if free else None


class InHalf(nn.Module):
    """A network in float16: images and logits are float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W]."""
        logits: Tensor = self.network(images.half())
        return logits.float()
