"""ProxylessNAS (Cai et al. 2019), the network found for a GPU."""

from __future__ import annotations

from torch import Tensor, nn

from dots.networks.reference.layers import Classifier, conv_norm

STEM, LAST = 40, 1728
STAGES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    # For each block output channels, kernel, expansion. Blocks that the search made an
    # identity are absent. The first block of all stages but the first has stride 2.
    ((24, 3, 1),),
    ((32, 5, 3),),
    ((56, 7, 3), (56, 3, 3)),
    ((112, 7, 6), (112, 5, 3), (128, 5, 6), (128, 3, 3), (128, 5, 3)),
    ((256, 7, 6), (256, 7, 6), (256, 7, 6), (256, 5, 6), (432, 7, 6)),
)


class InvertedResidual(nn.Module):
    """1×1 to more channels, depthwise k×k, 1×1 back; added to the input where shapes agree."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, expansion: int, stride: int
    ) -> None:
        super().__init__()
        inner = channels_in * expansion
        widen = [*conv_norm(channels_in, inner), nn.ReLU6()] if expansion > 1 else []
        self.body = nn.Sequential(
            *widen,
            *conv_norm(inner, inner, kernel, stride, groups=inner),
            nn.ReLU6(),
            *conv_norm(inner, channels),
        )
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, ⌈H/stride⌉, ⌈W/stride⌉]."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class ProxylessNAS(nn.Sequential):
    """Five stages of inverted residuals."""

    def __init__(self, classes: int, image_channels: int, *, small: bool) -> None:
        layers: list[nn.Module] = [*conv_norm(image_channels, STEM, 3, 1 if small else 2)]
        layers.append(nn.ReLU6())
        width = STEM
        for index, blocks in enumerate(STAGES):
            for place, (channels, kernel, expansion) in enumerate(blocks):
                stride = 2 if index and not place else 1
                layers.append(InvertedResidual(width, channels, kernel, expansion, stride))
                width = channels
        layers += [*conv_norm(width, LAST), nn.ReLU6()]
        super().__init__(*layers, Classifier(LAST, classes))
