"""Parts of a network as classes of Python text, one class for all parts of the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dots.export.grouping import Part, Step, form, parts_of
from dots.export.layer_text import call, join, module_text, numbers
from dots.export.layers import INPUT, LayerList

_WIDTH = 100


@dataclass(frozen=True)
class Written:
    """The text of all classes, and for each tensor of the layer list its name there."""

    text: str
    tensors: Mapping[str, str]


def write_network(network: LayerList) -> Written:
    """Classes for the parts of a network, and the class Network that puts them together."""
    parts = parts_of(network)
    alike: dict[object, list[Part]] = {}
    for part in parts:
        alike.setdefault(form(part), []).append(part)
    shapes = network.shapes()
    taken: set[str] = set()
    classes = [_PartClass(group, network, shapes, taken) for group in alike.values()]
    by_part = {part.name: each for each in classes for part in each.parts}
    text = "\n\n\n".join([*(each.text() for each in classes), _whole(network, parts, by_part)])
    tensors = {}
    for part in parts:
        for step in part.steps:
            for number, layer in enumerate(step.layers):
                inner = f".{number}" if len(step.layers) > 1 else ""
                for role, name in layer.weights.items():
                    tensors[name] = f"{_field(part.name)}.{step.name}{inner}.{role}"
    return Written(text, tensors)


def _field(part: str) -> str:
    """What the network calls a part: "cells.3" is cell3."""
    word, _, number = part.partition(".")
    return f"{word.removesuffix('s')}{number}" if number else word


def _whole(network: LayerList, parts: Sequence[Part], classes: Mapping[str, _PartClass]) -> str:
    shape = ", ".join(map(str, network.input))
    lines = [
        "class Network(nn.Module):",
        f'    """Logits [B, {network.layers[-1].shape[0]}] of normalised images [B, {shape}]."""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
    ]
    lines += [f"        self.{_field(p.name)} = {classes[p.name].made(p)}" for p in parts]
    lines += ["", "    def forward(self, images: Tensor) -> Tensor:"]
    names = {INPUT: "images"}
    for part in parts:
        for output in part.outputs:
            own = _field(part.name)
            names[output] = own if len(part.outputs) == 1 else f"{own}_{_short(part, output)}"
        inputs = ", ".join(names[value] for value in part.inputs)
        results = ", ".join(names[output] for output in part.outputs)
        if network.output in part.outputs:
            lines.append(f"        return self.{_field(part.name)}({inputs})")
        else:
            lines.append(f"        {results} = self.{_field(part.name)}({inputs})")
    return "\n".join(lines)


def _short(part: Part, value: str) -> str:
    return next(step.name for step in part.steps if step.output == value)


class _PartClass:
    """One class: the text for parts of one form, whose numbers of channels may differ."""

    def __init__(
        self,
        parts: list[Part],
        network: LayerList,
        shapes: Mapping[str, tuple[int, ...]],
        taken: set[str],
    ) -> None:
        self.parts = parts
        self._network = network
        self._shapes = shapes
        self._words = self._arguments()
        self.name = self._free_name(taken)
        taken.add(self.name)

    def _free_name(self, taken: set[str]) -> str:
        first = self.parts[0].name
        described = self._network.parts.get(first, first.partition(".")[0].removesuffix("s"))
        name = "".join(word.capitalize() for word in described.partition("\n")[0].split())
        copies = (f"{name}{number}" for number in range(2, len(taken) + 3))
        return name if name not in taken else next(copy for copy in copies if copy not in taken)

    def _column(self, step: int, layer: int, slot: int) -> tuple[int, ...]:
        """A number of channels, in each of the parts."""
        found = (part.steps[step].layers[layer] for part in self.parts)
        return tuple(numbers(each, self._shapes)[slot] for each in found)

    def _columns(self) -> list[tuple[int, ...]]:
        return [
            self._column(s, x, slot)
            for s, step in enumerate(self.parts[0].steps)
            for x, layer in enumerate(step.layers)
            for slot in range(len(numbers(layer, self._shapes)))
        ]

    def _arguments(self) -> dict[tuple[int, ...], str]:
        """What the constructor calls the numbers that differ between the parts."""
        columns = [column for column in self._columns() if len(set(column)) > 1]
        words: dict[tuple[int, ...], str] = {}
        if not columns:
            return words
        words[max(columns, key=columns.count)] = "channels"
        for number in range(len(self.parts[0].inputs)):
            column = tuple(self._shapes[part.inputs[number]][0] for part in self.parts)
            if column in columns:
                words.setdefault(column, f"channels_in{number}")
        for column in columns:
            words.setdefault(column, f"width{len(words)}")
        return words

    def made(self, part: Part) -> str:
        """The call that makes the module of `part`."""
        which = self.parts.index(part)
        values = ", ".join(f"{word}={column[which]}" for column, word in self._words.items())
        return f"{self.name}({values})"

    def text(self) -> str:
        """The class."""
        part = self.parts[0]
        arguments = "".join(f", {word}: int" for word in self._words.values())
        results = "Tensor" if len(part.outputs) == 1 else "tuple[Tensor, ...]"
        held = [step for step in part.steps if step.held]
        names = {value: f"x{number}" for number, value in enumerate(part.inputs)}
        taken = "".join(f", {name}: Tensor" for name in names.values())
        lines = [f"class {self.name}(nn.Module):", *self._docstring(), ""]
        if held:
            lines += [f"    def __init__(self{arguments}) -> None:", "        super().__init__()"]
            for number, step in enumerate(part.steps):
                if step.held:
                    lines += self._made_step(number, step)
            lines.append("")
        lines.append(f"    def forward(self{taken}) -> {results}:")
        return "\n".join(lines + self._forward(part, names))

    def _docstring(self) -> list[str]:
        part = self.parts[0]
        described = self._network.parts.get(part.name, f"The {_field(part.name)}.").split("\n")
        where = ", ".join(_field(each.name) for each in self.parts)
        shapes = "; ".join(
            f"x{number} {list(self._shapes[value])}" for number, value in enumerate(part.inputs)
        )
        first = described[0][0].upper() + described[0][1:]
        if len(described) == 1:
            return [f'    """{first}"""']
        rows = [f'    """{first}: {where}.', ""]
        rows += [f"    {row}" for row in described[1:]]
        return [*rows, "", f"    In {_field(part.name)} without the batch: {shapes}.", '    """']

    def _made_step(self, number: int, step: Step) -> list[str]:
        """The assignment of a module: a layer or a sequence of layers."""
        texts = []
        for position, layer in enumerate(step.layers):
            values = [
                self._words.get(self._column(number, position, slot), str(value))
                for slot, value in enumerate(numbers(layer, self._shapes))
            ]
            texts.append(module_text(layer, values))
        if len(texts) == 1:
            return [f"        self.{step.name} = {texts[0]}"]
        rows = [f"            {text}," for text in texts]
        return [f"        self.{step.name} = nn.Sequential(", *rows, "        )"]

    def _forward(self, part: Part, names: dict[str, str]) -> list[str]:
        lines: list[str] = []
        uses: dict[str, int] = {}
        for step in part.steps:
            for value in step.inputs:
                uses[value] = uses.get(value, 0) + 1
        joined = {v for s in part.steps if s.layers[0].kind in ("add", "concat") for v in s.inputs}
        for step in part.steps:
            inputs = [names[value] for value in step.inputs]
            text = f"self.{step.name}({inputs[0]})" if step.held else call(step.layers[0], inputs)
            once = uses.get(step.output) == 1 and step.output in joined
            if once and step.output not in part.outputs and step.layers[0].kind != "add":
                names[step.output] = text  # goes into the sum as it is
                continue
            names[step.output] = step.name
            lines += _assigned(step, text, inputs)
        results = ", ".join(names[output] for output in part.outputs)
        if len(part.outputs) == 1 and lines[-1].startswith(f"        {results} = "):
            lines[-1] = lines[-1].replace(f"{results} = ", "return ", 1)
            return lines
        return [*lines, f"        return {results}"]


def _assigned(step: Step, text: str, inputs: list[str]) -> list[str]:
    line = f"        {step.name} = {text}"
    if len(line) <= _WIDTH or step.layers[0].kind not in ("add", "concat"):
        return [line]
    return [f"        {step.name} = {row}" if not n else row
            for n, row in enumerate(join(step.layers[0].kind, inputs))]  # fmt: skip
