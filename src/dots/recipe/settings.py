"""The settings of a run: every number that decides its outcome, checked when built.

Devices, workers and the like are no part of a recipe: they belong to the machine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from dots.common.plugins import is_reference
from dots.space.edge_combinations import NodeChoices, Parameterisation, node_choices
from dots.space.search_space import named_space


class Settings(BaseModel):
    """Frozen, typed strictly, closed to unknown names, without NaN and infinities."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class BudgetSettings(Settings):
    """What the derived network may cost: the search keeps to it."""

    max_parameters: int | None = Field(
        default=None, ge=1, description="most parameters of the network; none: no limit"
    )
    max_multiply_adds: int | None = Field(
        default=None, ge=1, description="most multiply-adds for an image; none: no limit"
    )
    latency_target: float | None = Field(
        default=None,
        gt=0,
        description="most milliseconds for an image, by the latency table; none: no limit",
    )
    weight: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="weight in both searches' loss of the share by which the expected cost "
        "exceeds each limit; 0: limits act when the cell is chosen, and only then",
    )

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        limits = (self.max_parameters, self.max_multiply_adds, self.latency_target)
        return any(limit is not None for limit in limits)

    @model_validator(mode="after")
    def _weight_has_a_limit(self) -> Self:
        if self.weight and not self.limited:
            raise ValueError(
                "weight needs a limit to weigh: set max_parameters, max_multiply_adds or "
                "latency_target"
            )
        return self


Fraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=100)]
Decay = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Pair = Annotated[tuple[Momentum, Momentum], Field(strict=False)]
Baseline = Literal["random", "darts-policy", "published", "plain"]


def _as_text(value: object) -> object:
    """`precision = 32` means the text '32': the TOML of a person often leaves the quotes out."""
    return str(value) if type(value) is int else value


class DataSettings(Settings):
    """How the images are read, split and augmented."""

    image_size: int | None = Field(
        default=None,
        ge=4,
        le=4096,
        description="side of the images in pixels; none: the source decides",
    )
    largest_size: int = Field(
        default=64,
        ge=8,
        le=64,
        description="most pixels a side where the source decides; larger images are shrunk",
    )
    test_fraction: Fraction = Field(
        default=0.2, description="share held out for the test where the source has no test part"
    )
    weight_fraction: Fraction = Field(
        default=0.5,
        description="share of the training images in half A, on which the search trains w",
    )
    arch_fraction: Fraction | None = Field(
        default=None,
        description="share in half B, on which the search trains α; none: all that A leaves",
    )
    flip: bool | None = Field(
        default=None, description="random horizontal flips in training; none: the source decides"
    )
    crop: int | None = Field(
        default=None,
        ge=0,
        le=512,
        description="padding in pixels before a random crop; none: an eighth of the image size",
    )
    class_weights: bool = Field(
        default=False, description="weight the loss by inverse class frequency (imbalanced classes)"
    )
    label: str | None = Field(
        default=None,
        min_length=1,
        description="the column that holds the labels, in tables, parquet files and on the hub; "
        "none: label, labels or fine_label",
    )
    file: str | None = Field(
        default=None,
        min_length=1,
        description="the column of a table that holds file names; none: file_name, path, ...",
    )
    split: str | None = Field(
        default=None,
        min_length=1,
        description="the column of a table that says train, val or test; none: split, if present",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="the column of a table whose equal values stay on one side of every split "
        "(patients, video clips); none: group, if present",
    )
    images: str | None = Field(
        default=None, description="the folder of the files that a table names; none: the table's"
    )
    limit: int | None = Field(
        default=None,
        ge=2,
        description="use at most so many training images, drawn per class; none: all",
    )
    search_limit: int | None = Field(
        default=None,
        ge=2,
        description="at most so many of them in the two halves of the search; none: all",
    )

    @model_validator(mode="after")
    def _halves_fit(self) -> Self:
        if self.arch_fraction is not None and self.weight_fraction + self.arch_fraction > 1:
            raise ValueError("weight_fraction + arch_fraction must be at most 1")
        return self


class StageSettings(Settings):
    """What every stage has: a network of some size and its optimiser (SGD)."""

    epochs: int = Field(ge=1, le=100_000, description="passes over the images of the stage")
    cells: int = Field(ge=1, le=200, description="cells of the network")
    channels: int = Field(ge=1, le=4096, description="channels of the first cells (C)")
    batch: int = Field(ge=1, le=1_000_000, description="images of one step, over all processes")
    lr: Rate = Field(description="learning rate at the start")
    lr_min: float = Field(default=0.0, ge=0, le=100, description="learning rate at the end")
    momentum: Momentum = Field(default=0.9, description="momentum of SGD")
    weight_decay: Decay = Field(default=3e-4, description="L2 penalty on w")
    clip: float | None = Field(
        default=5.0, gt=0, description="largest norm of the gradient of w; none: no clipping"
    )
    stem: Literal["cifar", "pooled", "strided", "imagenet", "auto"] = Field(
        default="cifar",
        description="'cifar': one convolution; 'pooled': a max pooling after it; 'strided': "
        "stride 2 instead; 'imagenet': three of stride 2; 'auto': pooled for images of 24 pixels "
        "or more, else cifar",
    )
    crop: Literal["pad", "resized"] = Field(
        default="pad", description="random crop of the padded image, or of random size and aspect"
    )

    warmup_epochs: int = Field(
        default=0, ge=0, description="leading epochs of rising learning rate"
    )

    @model_validator(mode="after")
    def _rate_falls(self) -> Self:
        if self.lr_min > self.lr:
            raise ValueError(f"lr_min ({self.lr_min}) must be at most lr ({self.lr})")
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs}) must be at most epochs ({self.epochs})"
            )
        return self


class SearchSettings(StageSettings):
    """What both search stages have: weight-only epochs, a cosine, Adam for the architecture."""

    weight_epochs: int = Field(default=0, ge=0, description="leading epochs that train w alone")
    lr_epochs: int | None = Field(
        default=None, ge=1, description="epochs until the cosine reaches lr_min; none: epochs"
    )
    lr_offset: int = Field(
        default=0, ge=0, description="epochs of that cosine already behind at the start"
    )
    arch_lr: Rate = Field(default=3e-4, description="Adam's learning rate for the architecture")
    arch_betas: Pair = Field(default=(0.5, 0.999), description="Adam's betas for the architecture")
    arch_weight_decay: Decay = Field(default=1e-3, description="L2 penalty on the architecture")
    arch_clip: float | None = Field(
        default=None,
        gt=0,
        description="largest norm of the architecture's gradient; none: no clipping",
    )
    head_norm: bool = Field(
        default=False,
        description="batch norm and ReLU before the pooling, as in the authors' release",
    )
    tune_epochs: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="select 'perturbation': epochs that train w at a tenth of lr between two "
        "decisions",
    )
    rating_images: int | None = Field(
        default=None,
        ge=1,
        description="images of half B that a supernet is rated on; none: all of them",
    )

    @model_validator(mode="after")
    def _epochs_fit(self) -> Self:
        if self.weight_epochs > self.epochs:
            raise ValueError(
                f"weight_epochs ({self.weight_epochs}) must be at most epochs ({self.epochs})"
            )
        horizon = self.epochs if self.lr_epochs is None else self.lr_epochs
        if self.lr_offset + self.epochs > horizon:
            raise ValueError(
                f"lr_offset + epochs ({self.lr_offset + self.epochs}) must be at most "
                f"lr_epochs ({horizon}), or the cosine would rise again"
            )
        return self


class OperationSettings(SearchSettings):
    """The operation search (Sec. 4.2): which operations each edge keeps."""

    select: Literal["argmax", "perturbation"] = Field(
        default="argmax",
        description="keep the operations that score most, or those that the trained supernet "
        "misses most (DARTS-PT)",
    )
    beta_decay: float | None = Field(
        default=None,
        ge=0,
        le=1e6,
        description="weight of β-decay in the step of α, reached in a line over the epochs; "
        "none: the method's own (50 for beta-darts, 0 for the others)",
    )
    oles: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="freeze an operation's weights when its training and validation gradients "
        "have a smaller cosine; none: the method's own (0.4 for oles, never for the others)",
    )
    oles_steps: int = Field(
        default=20, ge=1, le=1_000_000, description="steps of α that this cosine is the mean of"
    )


class TopologySettings(SearchSettings):
    """The topology search (Sec. 4.1): which edges each node keeps."""

    t_start: float = Field(
        default=10.0, gt=0, le=1e6, description="temperature T0 at the start (Eq. 9)"
    )
    t_end: float = Field(default=0.02, gt=0, le=1e6, description="temperature of the last step")
    anneal: Literal["step", "epoch"] = Field(
        default="step", description="lower the temperature after every step or every epoch"
    )
    alpha_ratio: float = Field(
        default=1e-3,
        gt=0,
        le=1e3,
        description="temperature of the retained operations over that of β",
    )
    parameterisation: Parameterisation = Field(
        default="combinations",
        description="β per edge combination (DOTS), per edge (PC-DARTS), or a sigmoid per edge",
    )
    edges: Literal["pairs", "any"] | Annotated[int, Field(ge=1, le=12)] = Field(
        default="pairs",
        description="edges that a node keeps: 'pairs' (2), a number, or 'any' non-empty subset; "
        "the sigmoid's threshold decides instead",
    )
    normalise: bool = Field(
        default=True, description="divide a combination's weight by its size, 1/N(c) of Eq. 7"
    )
    threshold: Fraction = Field(
        default=0.5, description="parameterisation 'sigmoid': edges above this value are kept"
    )
    held_out: bool = Field(
        default=False,
        description="train β on half B and w on half A instead of both on all (Eq. 10)",
    )
    select: Literal["argmax", "average", "supernet", "perturbation"] = Field(
        default="argmax",
        description="which edges: the largest β; the largest mean of β over the steps with T "
        "from 0.5 to 0.15; the least loss in the supernet, one-hot; or those that a supernet "
        "with uniform weights misses most (DARTS-PT)",
    )
    rate: bool = Field(
        default=False,
        description="also note the supernet's loss for single topologies in topology.json",
    )
    weight_half: bool = Field(
        default=False,
        description="half A alone in the leading epochs that train w alone, as in the authors' "
        "release",
    )

    @property
    def by_beta(self) -> bool:
        """Whether β says which edges are kept, and which cell would be next."""
        return self.select in ("argmax", "average")

    @model_validator(mode="after")
    def _annealing_and_edges_fit(self) -> Self:
        if self.t_end > self.t_start:
            raise ValueError(f"t_end ({self.t_end}) must be at most t_start ({self.t_start})")
        if self.parameterisation == "edges" and self.edges == "any":
            raise ValueError(
                "edges = 'any' needs parameterisation 'combinations' or 'sigmoid': "
                "weights on single edges cannot choose a number of edges"
            )
        return self

    @property
    def choices(self) -> NodeChoices:
        """What the nodes of a cell may keep."""
        return node_choices(self.parameterisation, self.edges, self.threshold)


class TrainSettings(StageSettings):
    """The training of the derived network from scratch, and its test."""

    schedule: Literal["cosine", "linear"] = Field(
        default="cosine", description="how the learning rate falls"
    )
    anneal: Literal["epoch", "step"] = Field(
        default="epoch",
        description="change the learning rate after every epoch, or after every step: it then "
        "rises on a line through the warm-up and falls to lr_min at the last step",
    )
    decay_norms: bool = Field(
        default=True, description="weight decay also on batch norms and biases"
    )
    nesterov: bool = Field(default=False, description="Nesterov's momentum")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="label smoothing of the loss"
    )
    auxiliary: float = Field(
        default=0.0, ge=0, le=10, description="weight of the auxiliary head's loss; 0: no such head"
    )
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="probability of dropping a path in the last epoch"
    )
    cutout: int = Field(
        default=0, ge=0, le=4096, description="side in pixels of the square cut out; 0: none"
    )
    colour_jitter: bool = Field(
        default=False, description="random brightness, contrast, saturation (0.4) and hue (0.2)"
    )

    published_epochs: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="epochs of the baseline 'published', which has the time of the search too; "
        "none: epochs",
    )


class HalvingSettings(Settings):
    """Successive halving between the search and the training: which cell is trained."""

    cells: int = Field(
        default=0,
        ge=0,
        le=64,
        description="cells that compete, trained on half A and judged on half B: the searched "
        "one, published, probable and random ones; below 2: the searched cell is taken",
    )
    epochs: int = Field(
        default=2,
        ge=1,
        le=100_000,
        description="passes of every cell over half A in the first round; the sum doubles with "
        "each further round, and the worse half of the cells leaves",
    )
    warm_start: bool = Field(
        default=False,
        description="the training begins with the weights that the winner has at the end of the "
        "halving, instead of new ones",
    )
    dense: bool = Field(
        default=False,
        description="all cells compete, and the winner and its baselines are trained, with 3×3 "
        "convolutions of all channels in place of depthwise separable ones; not within a budget",
    )

    @property
    def on(self) -> bool:
        """Whether there is anything to choose from."""
        return self.cells > 1

    def rounds(self, cells: int) -> tuple[tuple[int, int], ...]:
        """(cells, epochs of each) of every round: 8 cells are followed by 4 and by 2."""
        found: list[tuple[int, int]] = []
        while cells > 1:
            found.append((cells, self.epochs * 2 ** max(0, len(found) - 1)))
            cells = -(-cells // 2)
        return tuple(found)

    def all_epochs(self, cells: int) -> int:
        """Passes over half A in all rounds together, over so many cells."""
        return sum(count * epochs for count, epochs in self.rounds(cells))


class Recipe(Settings):
    """All settings of a run.

    Building one raises pydantic.ValidationError for a bad setting and dots.common.errors.UserError
    for an unknown space; `dots.recipe.build_recipe` turns the former into the latter.
    """

    preset: str = Field(description="the preset that the settings started from")
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="the one seed of splits, weights and samples"
    )
    space: str = Field(
        default="darts",
        description="search space: darts, nasbench201, s2, s3, s4, or one of your own",
    )
    nodes: int | None = Field(
        default=None,
        ge=1,
        le=12,
        description="intermediate nodes of a cell; none: the space decides",
    )
    strategy: str = Field(default="darts", description="method of the operation search")
    method: dict[str, JsonValue] = Field(
        default_factory=dict, description="settings of that method; unset ones are the published"
    )
    retain: Literal["top1", "top2", "group-v1", "group-v2"] = Field(
        default="group-v2", description="which operations an edge keeps for the topology search"
    )
    precision: Annotated[Literal["32", "bf16", "64"], BeforeValidator(_as_text)] = Field(
        default="32",
        description="'32': float32; 'bf16': autocast with float32 statistics; '64': float64",
    )
    fast: bool = Field(default=True, description="the fast kernels; false: the plain ones")
    compile: bool = Field(
        default=False,
        description="torch.compile the networks, with plain kernels; what fails runs uncompiled",
    )
    low_memory: bool = Field(
        default=False, description="recompute cells in the backward pass: less memory, more time"
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="parts of a batch whose gradients are added before a step",
    )
    baselines: Annotated[tuple[Baseline, ...], Field(strict=False)] = Field(
        default=("random",),
        description="networks trained beside the found cell's: that of a random cell, of the "
        "darts-policy, of a published cell (train.published_epochs), a plain one",
    )
    nominal_images: int | None = Field(
        default=None,
        ge=1,
        description="training images that the epochs are meant for: on fewer, epochs grow with "
        "the root of the ratio when the run begins; none: epochs as they are",
    )
    least_steps: int | None = Field(
        default=None,
        ge=1,
        description="steps that an epoch has at least: of few images batches are smaller when the "
        "run begins (not below 16), learning rates with their root; none: batches as they are",
    )
    checkpoint_minutes: float = Field(
        default=5.0,
        ge=0,
        le=1e5,
        description="minutes between checkpoints within an epoch; 0: none",
    )
    data: DataSettings = DataSettings()
    operations: OperationSettings
    topology: TopologySettings
    halving: HalvingSettings = HalvingSettings()
    train: TrainSettings
    budget: BudgetSettings = BudgetSettings()

    @model_validator(mode="after")
    def _space_exists(self) -> Self:
        if not is_reference(self.space):  # else only who is given the space can say
            named_space(self.space, self.nodes)
        return self

    @model_validator(mode="after")
    def _method_has_no_null(self) -> Self:
        if _holds_null(self.method):
            raise ValueError("method holds a null: leave the setting out instead")
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError("baselines names the same cell twice")
        return self

    @model_validator(mode="after")
    def _a_budget_goes_by_beta(self) -> Self:
        if self.budget.limited and not self.topology.by_beta:
            raise ValueError(
                f"a budget is kept to by the order of β, and topology.select = "
                f"'{self.topology.select}' does not go by it: set it to argmax or average"
            )
        return self

    @property
    def fast_kernels(self) -> bool:
        """Whether networks use the fast kernels, which a compiler cannot look into."""
        return self.fast and not self.compile

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values, all settings included: the content of recipe.json."""
        return self.model_dump(mode="json")


def _holds_null(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return any(_holds_null(entry) for entry in value.values())
    if isinstance(value, list):
        return any(_holds_null(entry) for entry in value)
    return value is None
