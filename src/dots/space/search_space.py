"""Search spaces as values: a cell graph, its operations in groups, and a skeleton.

Nothing outside this file may assume a number of nodes, operations, inputs or edges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from dots.common.errors import UserError
from dots.common.lazy import lazy
from dots.common.plugins import Plugin, find_outside

Groups = tuple[tuple[str, ...], ...]
Candidates = Mapping[str, tuple[tuple[str, ...], ...]]
"""For each cell kind and edge the operations to choose from."""
Operation = Callable[[int, int, Any], Any]
"""Makes the module of an operation from (channels, stride, OperationStyle)."""

ZERO = "none"
DARTS_OPERATIONS = (
    ZERO,
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NASBENCH201_OPERATIONS = (
    ZERO,
    "skip_connect",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "avg_pool_3x3",
)
# Operations of published cells from other spaces (NASNet, AmoebaNet, SETN, GDAS), and the
# noise of the space S4.
FURTHER_OPERATIONS = (
    "sep_conv_7x7",
    "conv_1x1",
    "conv_3x3_bottleneck",
    "conv_1x7_7x1_bottleneck",
    "conv_3x1_1x3",
    "conv_1x3_3x1_group8",
    "dil_sep_conv_5x5",
    "max_pool_2x2",
    "max_pool_3x3_bn",
    "noise",
)
GENOTYPE_OPERATIONS = frozenset(DARTS_OPERATIONS + NASBENCH201_OPERATIONS + FURTHER_OPERATIONS) - {
    ZERO
}
"""What may stand on an edge of a genotype, beside Zero, which leaves a node's sum as it is."""


@dataclass(frozen=True)
class CellSpec:
    """The graph of a cell: `inputs` first, then `nodes`, each fed by all before it.

    Nodes are numbered from 0: the inputs 0..inputs-1, then the intermediate nodes. `output`
    says what a cell returns: all intermediate nodes concatenated along the channels, or the
    last node alone.
    """

    inputs: int
    nodes: int
    output: Literal["concat", "last"]

    @lazy
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Every edge (i, j), i < j, ordered by target node, then by source."""
        targets = range(self.inputs, self.inputs + self.nodes)
        return tuple((source, target) for target in targets for source in range(target))

    @lazy
    def incoming(self) -> tuple[tuple[int, ...], ...]:
        """For each intermediate node, in order, the indices into `edges` of what feeds it."""
        targets = range(self.inputs, self.inputs + self.nodes)
        return tuple(
            tuple(index for index, (_, end) in enumerate(self.edges) if end == target)
            for target in targets
        )

    @property
    def concat(self) -> tuple[int, ...]:
        """The nodes whose channels make up the output."""
        last = self.inputs + self.nodes
        return tuple(range(self.inputs, last)) if self.output == "concat" else (last - 1,)


@dataclass(frozen=True)
class SearchSpace:
    """A cell graph × operations × a skeleton.

    `kinds` names the cell kinds, each with architecture parameters of its own. `groups` maps
    a scheme ("v1", "v2", "drop-nas", "stac-nas") to a partition of the operations; a scheme
    that the space does not offer is absent. `mergeable` lists the convolutions that one
    kernel can hold together (MergeNAS). `skeleton` names the network around the cells.
    `policy_edges` is how many edges a node keeps without topology search; None: every edge
    whose best operation is not Zero, the rule of NAS-Bench-201. `own` makes the operations that
    are neither ours nor installed (see `dots.networks.operations.registry`).

    Raises UserError for an operation of its own that has the name of one of ours.
    """

    name: str
    cell: CellSpec
    kinds: tuple[str, ...]
    operations: tuple[str, ...]
    skeleton: str
    groups: Mapping[str, Groups] = field(default_factory=lambda: MappingProxyType({}))
    mergeable: tuple[str, ...] = ()
    policy_edges: int | None = 2
    own: Mapping[str, Operation] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Refuse what would mean two things."""
        for name in self.own:
            if name in GENOTYPE_OPERATIONS | {ZERO}:
                raise UserError(
                    f"the space {self.name!r} has an operation {name!r} of its own, which is one "
                    "of ours: give it another name"
                )

    def __reduce__(self) -> tuple[type[SearchSpace], tuple[Any, ...]]:
        """Pickle through the constructor: a mapping proxy cannot be pickled."""
        values = (getattr(self, each.name) for each in fields(self))
        return SearchSpace, tuple(dict(v) if isinstance(v, Mapping) else v for v in values)

    @property
    def full_candidates(self) -> Candidates:
        """Every operation on every edge of every cell kind."""
        edges = len(self.cell.edges)
        return dict.fromkeys(self.kinds, (self.operations,) * edges)

    def with_nodes(self, nodes: int | None) -> SearchSpace:
        """The same with so many intermediate nodes; None: as many as it has."""
        return self if nodes is None else replace(self, cell=replace(self.cell, nodes=nodes))

    def groups_for(self, scheme: str) -> Groups:
        """The groups of `scheme`, without operations that this space lacks.

        Raises UserError where the space has no such scheme.
        """
        if scheme not in self.groups:
            known = ", ".join(sorted(self.groups)) or "none"
            raise UserError(
                f"the search space {self.name!r} has no operation groups {scheme!r}: it has {known}"
            )
        return self.groups[scheme]


_DARTS_GROUPS: Mapping[str, Groups] = {
    # StacNAS' clusters. Where Zero goes is in a supplement that is not available; it stands
    # with the skip here, the other operation without parameters that is not a pooling.
    "v1": (
        (ZERO, "skip_connect"),
        ("max_pool_3x3", "avg_pool_3x3"),
        ("sep_conv_3x3", "sep_conv_5x5"),
        ("dil_conv_3x3", "dil_conv_5x5"),
    ),
    # Topology-related against topology-agnostic (Sec. 4.2.2).
    "v2": (
        (ZERO, "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
        ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "noise"),
    ),
    "drop-nas": (
        ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "noise"),
        ("max_pool_3x3", "avg_pool_3x3", "skip_connect", ZERO),
    ),
    # The first of each is the cluster's representative in StacNAS' first stage.
    "stac-nas": (
        ("max_pool_3x3", "avg_pool_3x3"),
        ("skip_connect",),
        ("sep_conv_3x3", "sep_conv_5x5"),
        ("dil_conv_3x3", "dil_conv_5x5"),
        ("noise",),
    ),
}


def darts_space(
    nodes: int = 4,
    operations: Sequence[str] = DARTS_OPERATIONS,
    name: str = "darts",
    own: Mapping[str, Operation] | None = None,
) -> SearchSpace:
    """The DARTS space (Sec. 3.1): two inputs, two cell kinds, nodes concatenated.

    The operations `own` are there beside `operations`. An operation that is none of ours is
    grouped with the convolutions where there are two groups, and is a group of its own else.
    """
    chosen = tuple(operations) + tuple(op for op in own or () if op not in operations)
    others = tuple(op for op in chosen if op not in GENOTYPE_OPERATIONS | {ZERO})
    groups = {
        scheme: kept
        for scheme, partition in _DARTS_GROUPS.items()
        if len(kept := _restrict(_joined(partition, others), chosen)) > 1
    }
    return SearchSpace(
        name=name,
        cell=CellSpec(inputs=2, nodes=nodes, output="concat"),
        kinds=("normal", "reduce"),
        operations=chosen,
        skeleton="darts",
        groups=MappingProxyType(groups),
        mergeable=tuple(op for op in chosen if op.startswith(("sep_conv", "dil_conv"))),
        own=MappingProxyType(dict(own or {})),
    )


def _joined(partition: Groups, others: tuple[str, ...]) -> Groups:
    if len(partition) > 2:
        return (*partition, *((op,) for op in others))
    return tuple((*group, *others) if "sep_conv_3x3" in group else group for group in partition)


def _restrict(partition: Groups, operations: Sequence[str]) -> Groups:
    kept = (tuple(op for op in group if op in operations) for group in partition)
    return tuple(group for group in kept if group)


def nasbench201_space(operations: Sequence[str] = NASBENCH201_OPERATIONS) -> SearchSpace:
    """NAS-Bench-201: one input, three nodes, the last one is the output."""
    chosen = tuple(operations)
    partitions: Mapping[str, Groups] = {
        "v2": ((ZERO, "skip_connect", "avg_pool_3x3"), ("nor_conv_1x1", "nor_conv_3x3")),
        "drop-nas": (("nor_conv_1x1", "nor_conv_3x3"), (ZERO, "skip_connect", "avg_pool_3x3")),
        "stac-nas": (("skip_connect",), ("avg_pool_3x3",), ("nor_conv_3x3", "nor_conv_1x1")),
    }
    groups = {
        scheme: kept
        for scheme, partition in partitions.items()
        if len(kept := _restrict(partition, chosen)) > 1
    }
    return SearchSpace(
        name="nasbench201",
        cell=CellSpec(inputs=1, nodes=3, output="last"),
        kinds=("normal",),
        operations=chosen,
        skeleton="nasbench201",
        groups=MappingProxyType(groups),
        mergeable=tuple(op for op in chosen if op.startswith("nor_conv")),
        policy_edges=None,
    )


_SMALL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "s2": ("skip_connect", "sep_conv_3x3"),
        "s3": (ZERO, "skip_connect", "sep_conv_3x3"),
        "s4": ("sep_conv_3x3", "noise"),
    }
)
OURS = ("darts", "nasbench201", *_SMALL)
"""The names of the spaces that the package has."""


def named_space(name: str, nodes: int | None = None, given: Plugin | None = None) -> SearchSpace:
    """The space called `name`: one of ours, the `given` one, or an installed one.

    `nodes` overrides the number of intermediate nodes. Raises UserError for an unknown name,
    for `nodes` in a space that fixes them, and for what is no space.
    """
    if name == "nasbench201":
        if nodes not in (None, 3):
            raise UserError("the space 'nasbench201' has three nodes: leave 'nodes' unset")
        return nasbench201_space()
    if name == "darts":
        return darts_space(nodes or 4)
    if name in _SMALL:
        return darts_space(nodes or 4, _SMALL[name], name=name)
    space = checked_space(find_outside("space", name, OURS, given))
    return space.with_nodes(nodes)


def given_space(plugin: Plugin | None) -> SearchSpace | None:
    """The space that was handed over, if one was. Raises UserError as `checked_space`."""
    return None if plugin is None else checked_space(plugin)


def checked_space(plugin: Plugin) -> SearchSpace:
    """The space that a plug-in is. Raises UserError for another thing, and a name of ours."""
    space, name = plugin.value, plugin.name
    if not isinstance(space, SearchSpace):
        raise UserError(f"{name} is no search space: make one of dots.space.SearchSpace")
    if space.name in OURS:
        raise UserError(f"{name} calls itself {space.name!r}, which is one of ours: rename it")
    if ":" not in name and space.name != name:
        raise UserError(f"the installed space {name!r} calls itself {space.name!r}: rename it")
    return space
