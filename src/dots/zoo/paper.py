"""Tables 1 and 3 of the DOTS paper, with what we count beside what they print."""

from __future__ import annotations

from dataclasses import dataclass

from dots.common.errors import UserError
from dots.zoo.counts import Count, counts, reference_counts
from dots.zoo.table import remark

NO_CELL = "No cell of it is in the zoo."
_MEAN = "A mean over runs has no cell."


@dataclass(frozen=True)
class Source:
    """Where a row's network comes from: the name of a zoo's cell, of a reference, or neither."""

    cell: str | None = None
    reference: str | None = None

    def count(self, data: str) -> Count | None:
        """What we count on a data set, None where nothing is known."""
        if self.cell is not None:
            return counts(self.cell).get(data)
        if self.reference is not None:
            return reference_counts(self.reference).get(data)
        return None


@dataclass(frozen=True)
class CifarRow:
    """A row of Table 1: accuracies in percent as printed, printed millions of parameters.

    † marks figures that were reported by Chu et al., * means over four runs.

    `cifar10` and `cifar100` are where our counts come from (the cells may differ).
    """

    architecture: str
    accuracy10: str
    parameters10: float
    accuracy100: str
    parameters100: float | None
    gpu_days: str
    method: str
    cifar10: Source
    cifar100: Source
    note: str = ""

    @property
    def counted10(self) -> Count | None:
        """Our count with 10 classes."""
        return self.cifar10.count("cifar10")

    @property
    def counted100(self) -> Count | None:
        """Our count with 100 classes."""
        return self.cifar100.count("cifar100")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know before comparing printed and counted figures."""
        return _remarks(self.note, (self.cifar10, "cifar10"), (self.cifar100, "cifar100"))


@dataclass(frozen=True)
class ImageNetRow:
    """A row of Table 3: accuracies in percent, printed millions."""

    architecture: str
    top1: float
    top5: float
    parameters: float
    multiply_adds: int
    gpu_days: str
    method: str
    source: Source
    note: str = ""

    @property
    def counted(self) -> Count | None:
        """Our count."""
        return self.source.count("imagenet")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know before comparing printed and counted figures."""
        return _remarks(self.note, (self.source, "imagenet"))


def _remarks(note: str, *sources: tuple[Source, str]) -> tuple[str, ...]:
    texts = [note] + [remark(source.cell, data) for source, data in sources if source.cell]
    return tuple(dict.fromkeys(text for text in texts if text))


def _cell(name: str, other: str | None = None) -> tuple[Source, Source]:
    return Source(cell=name), Source(cell=other or name)


def _reference(name: str) -> tuple[Source, Source]:
    return Source(reference=name), Source(reference=name)


_NOTHING = (Source(), Source())

TABLE_1: tuple[CifarRow, ...] = (
    CifarRow(
        "DenseNet-BC", "96.54", 25.6, "82.82†", 25.6, "N/A", "N/A", *_reference("densenet_bc")
    ),
    CifarRow("NASNet-A", "97.35", 3.3, "83.18", 3.3, "1800", "RL", *_cell("NASNet_A_tf")),
    CifarRow("ENAS", "97.11", 4.6, "80.57†", 4.6, "0.5", "RL", *_cell("ENAS_micro")),
    CifarRow("AmoebaNet-B", "97.45 ± 0.05", 2.8, "-", None, "3150", "EA", *_cell("AmoebaNet_B_tf")),
    CifarRow(
        "Hierarchical Evolution", "96.25 ± 0.12", 15.7, "-", None, "300", "EA", *_NOTHING, NO_CELL
    ),
    CifarRow("PNAS", "96.59 ± 0.09", 3.2, "80.47†", 3.2, "225", "SMBO", *_cell("PNASNet5_tf")),
    CifarRow("DARTS", "97.00", 3.4, "82.46†", 3.4, "0.4", "GD", *_cell("DARTS_V2")),
    CifarRow("SNAS", "97.15", 2.8, "82.45", 2.8, "1.5", "GD", *_cell("SNAS_moderate")),
    CifarRow("GDAS", "97.07", 2.5, "81.62†", 3.4, "0.2", "GD", *_cell("GDAS_FRC", "GDAS_V1")),
    CifarRow("P-DARTS", "97.50", 3.4, "82.51†", 3.6, "0.3", "GD", *_cell("P_DARTS")),
    CifarRow("FairDARTS", "97.46", 2.8, "82.39", 2.8, "0.4", "GD", *_cell("FairDARTS_a")),
    CifarRow("PC-DARTS", "97.43 ± 0.07", 3.6, "83.10", 3.6, "0.1", "GD", *_cell("PC_DARTS_C10")),
    CifarRow(
        "DropNAS",
        "97.42 ± 0.14",
        4.1,
        "83.13",
        4.0,
        "0.6",
        "GD",
        *_cell("DropNAS_C10", "DropNAS_C100"),
    ),
    CifarRow("MergeNAS", "97.27 ± 0.02", 2.9, "82.42", 2.9, "0.2", "GD", *_NOTHING, NO_CELL),
    CifarRow("ASAP", "97.32 ± 0.11", 2.5, "82.69", 2.5, "0.2", "GD", *_cell("ASAP")),
    CifarRow("SDARTS-ADV", "97.39 ± 0.02", 3.3, "83.27", 3.3, "1.3", "GD", *_cell("SDARTS_ADV")),
    CifarRow(
        "DARTS-",
        "97.41 ± 0.08",
        3.5,
        "82.84†",
        3.4,
        "0.4",
        "GD",
        *_cell("DARTS_minus_C10_s0_0", "DARTS_minus_C100_s0_0"),
        "Counted for the best of the runs whose cells were published.",
    ),
    CifarRow(
        "DOTS (best)", "97.63", 3.5, "83.72", 4.1, "0.26", "GD", *_cell("DOTS_C10", "DOTS_C100")
    ),
    CifarRow(
        "DOTS (avg)*", "97.51 ± 0.06", 3.5, "83.52 ± 0.13", 4.1, "0.26", "GD", *_NOTHING, _MEAN
    ),
)


def _imagenet(name: str) -> Source:
    return Source(cell=name)


TABLE_3: tuple[ImageNetRow, ...] = (
    ImageNetRow(
        "Inception-v1",
        *(69.8, 89.9, 6.6, 1448, "N/A", "N/A"),
        Source(reference="inception_v1"),
        "torchvision's network has batch norms and 3×3 convolutions where the paper has 5×5.",
    ),
    ImageNetRow("MobileNet", 70.6, 89.5, 4.2, 569, "N/A", "N/A", Source(reference="mobilenet")),
    ImageNetRow(
        "ShuffleNet 2× (v1)", 73.6, 89.8, 5.4, 524, "N/A", "N/A", Source(reference="shufflenet_v1")
    ),
    ImageNetRow(
        "ShuffleNet 2× (v2)",
        *(74.9, 92.4, 7.4, 591, "N/A", "N/A"),
        Source(reference="shufflenet_v2"),
        "Counted as torchvision builds it; for the other 8 M no explanation was found.",
    ),
    ImageNetRow("NASNet-A", 74.0, 91.6, 5.3, 564, "1800", "RL", _imagenet("NASNet_A_tf")),
    ImageNetRow("AmoebaNet-C", 75.7, 92.4, 6.4, 570, "3150", "EA", _imagenet("AmoebaNet_C_tf")),
    ImageNetRow("PNAS", 74.2, 91.9, 5.1, 588, "225", "SMBO", _imagenet("PNASNet5_tf")),
    ImageNetRow(
        "MnasNet-92",
        *(74.8, 92.0, 4.4, 388, "1667", "RL"),
        Source(reference="mnasnet"),
        "torchvision ships MnasNet-B1, another network of the paper's second version.",
    ),
    ImageNetRow(
        "DARTS (2nd order) (CIFAR10)", 73.3, 91.3, 4.7, 574, "4.0", "GD", _imagenet("DARTS_V2")
    ),
    ImageNetRow("SNAS (CIFAR10)", 72.7, 90.8, 4.3, 522, "1.5", "GD", _imagenet("SNAS_mild")),
    ImageNetRow("P-DARTS (CIFAR10)", 75.6, 92.6, 4.9, 557, "0.3", "GD", _imagenet("P_DARTS")),
    ImageNetRow("GDAS (CIFAR10)", 74.0, 91.5, 5.3, 581, "0.2", "GD", _imagenet("GDAS_V1")),
    ImageNetRow("FairDARTS (CIFAR10)", 75.1, 92.5, 4.8, 541, "0.4", "GD", _imagenet("FairDARTS_b")),
    ImageNetRow("PC-DARTS (CIFAR10)", 74.9, 92.2, 5.3, 586, "0.1", "GD", _imagenet("PC_DARTS_C10")),
    ImageNetRow("SDARTS-ADV (CIFAR10)", 74.8, 92.2, 5.4, 594, "1.3", "GD", _imagenet("SDARTS_ADV")),
    ImageNetRow("DropNAS (CIFAR10)", 75.5, 92.6, 5.2, 572, "0.6", "GD", _imagenet("DropNAS_C10")),
    ImageNetRow("ASAP (CIFAR10)", 73.7, 91.5, 3.8, 427, "0.2", "GD", _imagenet("ASAP")),
    ImageNetRow("DOTS (CIFAR10)", 75.7, 92.6, 5.2, 581, "0.2", "GD", _imagenet("DOTS_C10")),
    ImageNetRow(
        "ProxylessNAS (ImageNet)",
        *(75.1, 92.5, 7.1, 465, "8.3", "GD"),
        Source(reference="proxylessnas"),
    ),
    ImageNetRow("FairDARTS (ImageNet)", 75.6, 92.6, 4.3, 440, "3", "GD", Source(), NO_CELL),
    ImageNetRow("PC-DARTS (ImageNet)", 75.8, 92.7, 5.3, 597, "3.8", "GD", Source(), NO_CELL),
    ImageNetRow("DOTS (ImageNet)", 76.0, 92.8, 5.3, 596, "1.3", "GD", _imagenet("DOTS_ImageNet")),
)


def paper_table(number: int) -> tuple[CifarRow, ...] | tuple[ImageNetRow, ...]:
    """The rows of the paper's Table 1 (CIFAR) or 3 (ImageNet). Raises UserError for others."""
    if number == 1:
        return TABLE_1
    if number == 3:
        return TABLE_3
    raise UserError(f"there is no table {number} of networks: choose 1 (CIFAR) or 3 (ImageNet)")
