"""Batch norm that is as precise in one memory layout as in the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dots.networks.kernels.batch_statistics import takes_batch
from dots.networks.kernels.node_sum import foldable, normed


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, but channels-last maps on a CPU are not normalised in that layout.

    There PyTorch sums the values of a channels-last float32 map one after another, which leaves
    a relative error of 1e-4 where the other layout has 1e-7. Such a map takes the other layout,
    or in the training of a network with fast kernels (`folds`) the algebra of moments. Meant
    for the few norms outside of cells; those inside are terms of a node (see `kernels.node_sum`).
    """

    folds = False

    def forward(self, x: Tensor) -> Tensor:
        last = torch.channels_last
        if x.device.type != "cpu" or x.is_contiguous() or not x.is_contiguous(memory_format=last):
            return super().forward(x)
        if self.folds and takes_batch(self) and foldable(x, None):
            return normed(x, self)
        return super().forward(x.contiguous()).contiguous(memory_format=last)
