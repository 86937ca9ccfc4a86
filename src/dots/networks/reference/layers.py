"""What the small reference networks have in common."""

from __future__ import annotations

from torch import Tensor, nn


def conv_norm(
    channels_in: int, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size at stride 1, and its batch norm."""
    conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class Classifier(nn.Module):
    """Global average pooling and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of features [B, C, H, W]."""
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
