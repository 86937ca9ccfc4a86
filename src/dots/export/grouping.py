"""A layer list as parts of few steps, for programs that people read.

A part ("cells.3") is a list of steps in order. A step is a chain of layers that feed nothing
but each other, or a single layer that joins or cuts values. Parts that differ in their numbers
of channels only have the same form.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from dots.common.errors import UserError
from dots.export.layers import Layer, LayerList

CHAINED = ("conv", "batch_norm", "relu", "max_pool", "avg_pool", "linear")
"""What may be one after another in a chain; other kinds stand alone."""


@dataclass(frozen=True)
class Step:
    """Layers one after another, from `inputs` to the value `output`; `name` within the part."""

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]

    @property
    def output(self) -> str:
        """The name of the value that it makes."""
        return self.layers[-1].name

    @property
    def held(self) -> bool:
        """Whether it is a chain of two layers or more, or has tensors: a module."""
        return len(self.layers) > 1 or bool(self.layers[0].weights)


@dataclass(frozen=True)
class Part:
    """A block of the network: what it takes from other blocks, its steps, what others take."""

    name: str
    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]


def parts_of(network: LayerList) -> list[Part]:
    """The parts of a network in order. Raises UserError where the layers of one lie apart."""
    groups = [(name, list(layers)) for name, layers in groupby(network.layers, lambda x: x.part)]
    if len({name for name, _ in groups}) < len(groups):
        raise UserError("the network is not made of blocks one after another: choose another --to")
    order = {name: number for number, name in enumerate(network.shapes())}
    parts = []
    for name, layers in groups:
        own = {layer.name for layer in layers}
        taken = {value for layer in layers for value in layer.inputs} - own
        outside = {value for x in network.layers if x.part != name for value in x.inputs}
        outputs = tuple(x.name for x in layers if x.name in outside or x.name == network.output)
        inputs = tuple(sorted(taken, key=order.__getitem__))
        parts.append(Part(name, inputs, _steps(name, layers, network.uses(), outputs), outputs))
    return parts


def _steps(
    part: str, layers: list[Layer], uses: dict[str, int], outputs: tuple[str, ...]
) -> tuple[Step, ...]:
    chains: dict[str, list[Layer]] = {}  # by the value at the end
    for layer in layers:
        before = layer.inputs[0]
        joins = (
            layer.kind in CHAINED
            and before in chains
            and uses[before] == 1
            and before not in outputs
            and chains[before][-1].kind in CHAINED
            and _block(part, chains[before][0]) == _block(part, layer)
        )
        chains[layer.name] = [*chains.pop(before), layer] if joins else [layer]
    order = {layer.name: number for number, layer in enumerate(layers)}
    ends = sorted(chains, key=order.__getitem__)
    blocks = [_block(part, chains[end][0]) for end in ends if _is_module(chains[end])]
    steps = []
    for end in ends:
        chain = chains[end]
        block = _block(part, chain[0])
        alone = _is_module(chain) and blocks.count(block) == 1
        name = block if alone else _within(part, (chain[0] if alone else chain[-1]).name)
        steps.append(Step(name.replace(".", "_"), tuple(chain), chain[0].inputs))
    return tuple(steps)


def _is_module(chain: list[Layer]) -> bool:
    return len(chain) > 1 or bool(chain[0].weights)


def _within(part: str, name: str) -> str:
    """A layer's name in its part, that can be a name in Python but for its dots."""
    inner = name.removeprefix(f"{part}.")
    return f"layers.{inner}" if inner[0].isdigit() else inner


def _block(part: str, layer: Layer) -> str:
    """The edge, input or module that a layer is of: "node2.edge1", "input0", "conv"."""
    words = _within(part, layer.name).split(".")
    if words[0].startswith("node") and len(words) > 1:
        return ".".join(words[:2])
    return words[0]


def form(part: Part) -> tuple[object, ...]:
    """What two parts have in common that differ in channels alone; hashable."""
    names = {value: f"input {number}" for number, value in enumerate(part.inputs)}
    rows: list[object] = [len(part.inputs), tuple(_within(part.name, o) for o in part.outputs)]
    for step in part.steps:
        for layer in step.layers:
            inputs = tuple(names.get(x, _within(part.name, x)) for x in layer.inputs)
            settings = tuple((k, v) for k, v in layer.settings.items() if k != "groups")
            rows.append((step.name, layer.kind, inputs, settings, tuple(layer.weights)))
    return tuple(rows)
