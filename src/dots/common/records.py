"""The files of a run directory: their names, and what each of those holds that others read.

Writers build these models and dump them, readers validate. Every field that a partial or older
run may lack has a default; fields that are not here are kept as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from dots.common.errors import UserError
from dots.common.files import read_json

RECIPE = "recipe.json"
ENVIRONMENT = "environment.json"
JOB = "job.json"
MACHINE = "machine.json"
PLAN = "plan.json"
NOTICES = "notices.json"
EXTENSIONS = "extensions.json"
DATA = "data.json"
SPLITS = "splits.json"
HALVES = "halves.json"
LATENCY = "latency.json"
METRICS = "metrics.jsonl"
METRICS_TABLE = "metrics.csv"
ARCHITECTURE = "architecture.jsonl"
CANDIDATES = "candidates.json"
TOPOLOGY = "topology.json"
ALTERNATIVES = "alternatives.json"
HALVING = "halving.json"
GENOTYPE = "genotype.json"
POLICY_GENOTYPE = "genotype-darts-policy.json"
RANDOM_GENOTYPE = "genotype-random.json"
SEARCHED_GENOTYPE = "genotype-searched.json"
GENOTYPES = {
    "found": GENOTYPE,
    "searched": SEARCHED_GENOTYPE,
    "random": RANDOM_GENOTYPE,
    "darts-policy": POLICY_GENOTYPE,
}
"""By the name of the cell."""
NETWORK = "network.json"
TEST = "test.json"
SAMPLES = "samples.json"
SIZES = "sizes.json"
TRUTH = "truth.json"
TRACKERS = "trackers.json"
RESULT = "result.json"
REPORT = "report.html"
LOCK = "lock"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Amount = Annotated[int | float, Field(ge=0, le=1e18)]


class Record(BaseModel):
    """A file of a run directory, or a part of one. `what` says in errors what it should hold."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    file: ClassVar[str]
    what: ClassVar[str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record in a run directory. Raises UserError where it is missing or damaged."""
        path = folder / cls.file
        value = read_json(path, what=cls.what)
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise UserError(f"{str(path)!r} is damaged: {first_problem(error)}") from None

    def to_json(self) -> dict[str, Any]:
        """The fields that were set, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a record, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


class DataRecord(Record):
    """Where the images come from and what they are, as far as others than networks read it."""

    file: ClassVar[str] = DATA
    what: ClassVar[str] = "a description of the data"

    name: str = ""
    classes: tuple[str, ...] = ()
    channels: int | None = None
    image_size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flip: bool = False
    centre: float = 1.0
    source: str | None = None
    train_images: Count | None = None
    test_images: Count | None = None
    half_a: Count | None = None
    half_b: Count | None = None
    notices: tuple[str, ...] = ()


class Outcome(Record):
    """What a trained network reached in its test: accuracies are fractions."""

    test_accuracy: Share | None = None
    test_top5: Share | None = None
    balanced_accuracy: Share | None = None
    test_loss: float | None = None
    test_images: Count | None = None
    parameters: Count | None = None
    multiply_adds: Count | None = None


class TestRecord(Outcome):
    """A test: the numbers, the network, and the confusion matrix.

    Rows of the matrix are true, columns predicted classes, in the order of `classes`.
    """

    __test__: ClassVar[bool] = False  # for pytest, which collects what is called Test

    file: ClassVar[str] = TEST
    what: ClassVar[str] = "test results"

    reference: str | None = None
    skeleton: str | None = None
    genotype: Any = None
    shape: Any = None
    classes: tuple[str, ...]
    confusion: Sequence[Sequence[Count]]

    @model_validator(mode="after")
    def _square(self) -> Self:
        size = len(self.classes)
        if len(self.confusion) != size or any(len(row) != size for row in self.confusion):
            raise PydanticCustomError("square", f"the confusion matrix is not {size} x {size}")
        return self


class BaselineResult(Outcome):
    """A baseline's part of result.json."""

    train_seconds: Seconds | None = None
    genotype: Any = None


class TableEntry(Record):
    """A cell in one column of a benchmark's table: accuracy and percentile in percent."""

    accuracy: float = Field(ge=0, le=100)
    rank: Annotated[int, Field(ge=1)] | None = None
    percentile: float | None = Field(default=None, ge=0, le=100)
    cell: str | None = None


TableEntries = dict[str, TableEntry]
"""By the column of the table."""


class TruthRecord(Record):
    """What a benchmark's table has for the cells of a run; null where it has not the cell."""

    file: ClassVar[str] = TRUTH
    what: ClassVar[str] = "what a benchmark knows of the cells"

    truth: TableEntries | None = None
    truth_without_topology_search: TableEntries | None = None
    truth_best: TableEntries = Field(default_factory=dict)
    truth_random: TableEntries = Field(default_factory=dict)


class Result(TruthRecord, Outcome):
    """The found cell's numbers, the cost of the search, and the baselines'; times in seconds."""

    file: ClassVar[str] = RESULT
    what: ClassVar[str] = "the result of a run"

    reference: str | None = None
    origin: str | None = None
    skeleton: str | None = None
    search_seconds: Seconds | None = None
    search_cpu_seconds: Seconds | None = None
    train_seconds: Seconds | None = None
    seed: int | None = None
    baselines: dict[str, BaselineResult] = Field(default_factory=dict)
    notices: tuple[str, ...] = ()
    before_extension: Any = None


Trained = Result | BaselineResult
"""The numbers of a network that was trained and tested."""


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


class ArchitectureRow(Record):
    """A line of architecture.jsonl: the architecture weights after one epoch.

    `alpha` holds per cell kind and edge the mixing weights of the operations there, `beta`
    per kind and node the probabilities of the edge combinations (Eq. 6), `gamma` per kind
    the weight of each edge (Eq. 7).
    """

    stage: str
    epoch: Count
    temperature: float | None = None
    alpha: dict[str, list[list[float]]] = Field(default_factory=dict)
    beta: dict[str, list[list[float]]] = Field(default_factory=dict)
    gamma: dict[str, list[float]] = Field(default_factory=dict)


class Candidates(Record):
    """What the operation search kept on each edge, and its scores."""

    file: ClassVar[str] = CANDIDATES
    what: ClassVar[str] = "candidate operations"

    version: int = 1
    space: str = "darts"
    nodes: int | None = None
    strategy: str | None = None
    retain: str | None = None
    operations: tuple[str, ...] = ()
    scores: dict[str, list[list[float]]] | None = None
    candidates: dict[str, list[list[str]]] = Field(default_factory=dict)


class TopologyRecord(Record):
    """The parameters that a topology search ended with.

    `beta` holds the raw parameters of each kind and node (what they mean says
    `parameterisation`), `mean_beta` their mean over the last steps or null, `temperature` what
    divides them at the end; `alpha` the raw α' of each kind and edge, in the order of the
    edge's candidates (columns beyond them mean nothing; those of removed operations are never
    above the others); `operations` names for each kind and edge, kept or not, the operation
    that α' chose. Other selections than by β add what they have gone by.
    """

    file: ClassVar[str] = TOPOLOGY
    what: ClassVar[str] = "the end of a topology search"

    version: int = 1
    parameterisation: str = "combinations"
    edges: Literal["pairs", "any"] | int = "pairs"
    temperature: float = 1.0
    beta: dict[str, list[list[float]]] = Field(default_factory=dict)
    mean_beta: dict[str, list[list[float]]] | None = None
    alpha: dict[str, list[list[float]]] = Field(default_factory=dict)
    operations: dict[str, list[str]] = Field(default_factory=dict)
    kept_edges: dict[str, list[int]] = Field(default_factory=dict)
    supernet_losses: Any = None
    edge_importance: Any = None


class Choice(Record):
    """A cell that a topology search could have chosen, and what its network costs by metric."""

    log_probability: float = Field(ge=-1e9, le=1)
    costs: Mapping[Any, Amount]  # by metric
    within_limits: bool | None = None
    genotype: Any = None


class Alternatives(Record):
    """The most probable cells, and for each metric those that no cheaper one equals."""

    file: ClassVar[str] = ALTERNATIVES
    what: ClassVar[str] = "the alternatives of a cell"

    version: int = 1
    limits: Mapping[Any, Annotated[int | float, Field(gt=0, le=1e18)]] = Field(default_factory=dict)
    chosen: Choice | None = None
    top: Sequence[Choice] = ()
    pareto: Mapping[str, Sequence[Choice]] = Field(default_factory=dict)


class Validation(Record):
    """What a network reached on half B."""

    accuracy: Share
    loss: float


class Competitor(Record):
    """A cell of a successive halving: where it is from, and what it reached round by round."""

    origin: str
    genotype: Any = None
    epochs: Count = 0
    validation: Sequence[Validation] = ()
    seconds: Seconds | None = None


class Halving(Record):
    """The cells that competed, and the one that was trained on everything."""

    file: ClassVar[str] = HALVING
    what: ClassVar[str] = "a successive halving"

    version: int = 1
    winner: str
    cells: Sequence[Competitor] = ()


class KnownSize(Record):
    """A published cell or a reference network, not trained: what it would cost."""

    name: str
    kind: Literal["cell", "reference"]
    parameters: Count
    multiply_adds: Count


class KnownSizes(Record):
    """Networks counted for images of so many pixels a side."""

    file: ClassVar[str] = SIZES
    what: ClassVar[str] = "the sizes of known networks"

    version: int = 1
    image_size: Count
    networks: Sequence[KnownSize] = ()


class TrackerState(Record):
    """A run in a tracker: what finds it again, and how many epochs of each stage it was sent."""

    identity: dict[str, str] = Field(default_factory=dict)
    sent: dict[str, Count] = Field(default_factory=dict)


class TrackerStates(Record):
    """The trackers of a run, by name."""

    file: ClassVar[str] = TRACKERS
    what: ClassVar[str] = "the trackers of a run"

    version: int = 1
    trackers: dict[str, TrackerState] = Field(default_factory=dict)


class Picture(Record):
    """An image as base64 PNG, with its true label; a mistake has the rest too."""

    png: str
    label: str = ""
    predicted: str | None = None
    confidence: Share | None = None
    index: Count | None = None


class Samples(Record):
    """A training batch as the network sees it, and the worst mistakes."""

    file: ClassVar[str] = SAMPLES
    what: ClassVar[str] = "sample images"

    augmented: Sequence[Picture] = ()
    mistakes: Sequence[Picture] = ()
