"""What each file of a run directory holds, as far as a report reads it.

Every field that a partial or older run may lack has a default; fields that a report does not
read are ignored.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class DataPart(_Part):
    """data.json: where the images come from and what they are.

    Settings that only a network needs (mean, deviation) are not read here.
    """

    name: str = ""
    classes: tuple[str, ...] = ()
    channels: int | None = None
    image_size: int | None = None
    train_images: Count | None = None
    test_images: Count | None = None
    notices: tuple[str, ...] = ()


class Numbers(_Part):
    """What a trained cell reached: accuracies are fractions, times are seconds."""

    test_accuracy: Share | None = None
    test_top5: Share | None = None
    balanced_accuracy: Share | None = None
    test_loss: float | None = None
    test_images: Count | None = None
    parameters: Count | None = None
    multiply_adds: Count | None = None
    train_seconds: Seconds | None = None
    genotype: Any = None


class TableEntry(_Part):
    """A cell in one column of a benchmark's table: accuracy and percentile in percent."""

    accuracy: float = Field(ge=0, le=100)
    rank: Annotated[int, Field(ge=1)] | None = None
    percentile: float | None = Field(default=None, ge=0, le=100)


Standings = dict[str, TableEntry]
"""By the column of the table."""


class Result(Numbers):
    """result.json: the found cell's numbers, the cost of the search, and the baselines'."""

    search_seconds: Seconds | None = None
    search_cpu_seconds: Seconds | None = None
    seed: int | None = None
    reference: str | None = None
    origin: str | None = None
    skeleton: str | None = None
    baselines: dict[str, Numbers] = Field(default_factory=dict)
    notices: tuple[str, ...] = ()
    truth: Standings | None = None
    truth_without_topology_search: Standings | None = None
    truth_best: Standings = Field(default_factory=dict)
    truth_random: Standings = Field(default_factory=dict)


class MetricRow(BaseModel):
    """A line of metrics.jsonl: one epoch of one stage, with any further numbers."""

    model_config = ConfigDict(frozen=True, extra="allow")

    stage: str
    epoch: Count

    def number(self, key: str) -> float | None:
        """The finite number called `key`, or None where the row has none."""
        value = (self.model_extra or {}).get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) else None


class ArchitectureRow(_Part):
    """A line of architecture.jsonl: the architecture weights after one epoch.

    `alpha` holds per cell kind and edge the mixing weights of the operations there, `beta`
    per kind and node the probabilities of the edge combinations (Eq. 6), `gamma` per kind
    the weight of each edge (Eq. 7).
    """

    stage: str
    epoch: Count
    alpha: dict[str, list[list[float]]] = Field(default_factory=dict)
    beta: dict[str, list[list[float]]] = Field(default_factory=dict)
    gamma: dict[str, list[float]] = Field(default_factory=dict)
    temperature: float | None = None


class Candidates(_Part):
    """candidates.json: what the operation search kept on each edge, and its scores."""

    space: str = "darts"
    nodes: int | None = None
    strategy: str | None = None
    retain: str | None = None
    operations: tuple[str, ...] = ()
    candidates: dict[str, list[list[str]]] = Field(default_factory=dict)


class Topology(_Part):
    """topology.json: raw β of each kind and node, raw α' of each kind and edge, at the end."""

    parameterisation: str = "combinations"
    beta: dict[str, list[list[float]]] = Field(default_factory=dict)
    alpha: dict[str, list[list[float]]] = Field(default_factory=dict)


class Choice(_Part):
    """A cell that a topology search could have chosen, and what its network costs by metric."""

    log_probability: float = Field(ge=-1e9, le=1)
    costs: dict[str, Annotated[float, Field(ge=0, le=1e18)]]


class Alternatives(_Part):
    """alternatives.json: the most probable cells, and for each metric the undominated ones."""

    limits: dict[str, Annotated[float, Field(gt=0, le=1e18)]] = Field(default_factory=dict)
    chosen: Choice | None = None
    top: tuple[Choice, ...] = ()
    pareto: dict[str, tuple[Choice, ...]] = Field(default_factory=dict)


class Validation(_Part):
    """What a network reached on half B."""

    accuracy: Share
    loss: float


class Competitor(_Part):
    """A cell of a successive halving: where it is from, and what it reached round by round."""

    origin: str
    epochs: Count = 0
    validation: tuple[Validation, ...] = ()
    seconds: Seconds | None = None


class Halving(_Part):
    """halving.json: the cells that competed, and the one that was trained on everything."""

    winner: str
    cells: tuple[Competitor, ...] = ()


class KnownSize(_Part):
    """A published cell or a reference network, not trained: what it would cost."""

    name: str
    kind: Literal["cell", "reference"]
    parameters: Count
    multiply_adds: Count


class KnownSizes(_Part):
    """sizes.json: networks counted for images of so many pixels a side."""

    image_size: Count
    networks: tuple[KnownSize, ...] = ()


class Picture(_Part):
    """An image as base64 PNG, with its true label; a mistake has the rest too."""

    png: str
    label: str = ""
    predicted: str | None = None
    confidence: Share | None = None
    index: Count | None = None


class Samples(_Part):
    """samples.json: a training batch as the network sees it, and the worst mistakes."""

    augmented: tuple[Picture, ...] = ()
    mistakes: tuple[Picture, ...] = ()


class Confusion(_Part):
    """test.json: the confusion matrix, rows true, columns predicted, in order of `classes`."""

    classes: tuple[str, ...]
    confusion: tuple[tuple[Count, ...], ...]
