"""From the layers of a recording to a list that reads well and computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dots.export.layers import Layer

SHARED = ("relu", "max_pool", "avg_pool", "slice", "pad")
"""Layers that are the same wherever they are: without tensors, of one input."""


def tidy(layers: Sequence[Layer]) -> list[Layer]:
    """Sums of sums as one; concatenations at home; activations where they are used."""
    return copied(homed(joined_sums(layers)))


def homed(layers: Sequence[Layer]) -> list[Layer]:
    """Concatenations in the part that their inputs are of, each once."""
    parts = {layer.name: layer.part for layer in layers}
    homes: dict[str, str] = {}  # old name -> new name
    moved: dict[tuple[str, ...], Layer] = {}
    kept: list[Layer] = []
    for layer in layers:
        inputs = tuple(homes.get(name, name) for name in layer.inputs)
        layer = replace(layer, inputs=inputs)
        origins = {parts.get(name) for name in inputs}
        if layer.kind != "concat" or len(origins) > 1 or layer.part in origins:
            kept.append(layer)
            continue
        (part,) = origins
        if part is None:  # of the images alone
            kept.append(layer)
            continue
        if inputs not in moved:
            number = sum(other.part == part for other in moved.values())
            name = f"{part}.concat" + (f"_{number + 1}" if number else "")
            moved[inputs] = replace(layer, name=name, part=part)
            parts[name] = part
        homes[layer.name] = moved[inputs].name
    return _inserted(kept, list(moved.values()))


def _inserted(layers: list[Layer], more: list[Layer]) -> list[Layer]:
    """Put each further layer behind the last of its inputs."""
    result = list(layers)
    for layer in more:
        places = [n for n, other in enumerate(result) if other.name in layer.inputs]
        result.insert(places[-1] + 1, layer)
    return result


def copied(layers: Sequence[Layer]) -> list[Layer]:
    """Where a part takes another part's activation or cut, it takes one of its own instead."""
    by_name = {layer.name: layer for layer in layers}
    own: dict[tuple[str, str], str] = {}
    result: list[Layer] = []

    def local(name: str, part: str) -> str:
        origin = by_name.get(name)
        if origin is None or origin.part == part or origin.kind not in SHARED:
            return name
        if (part, name) not in own:
            source = local(origin.inputs[0], part)
            own[part, name] = f"{part}.{origin.kind}_of_{name}"
            result.append(replace(origin, name=own[part, name], inputs=(source,), part=part))
        return own[part, name]

    for layer in layers:
        inputs = tuple(local(name, layer.part) for name in layer.inputs)
        result.append(replace(layer, inputs=inputs))
    return result


def joined_sums(layers: Sequence[Layer]) -> list[Layer]:
    """Sums of sums as one sum each, where nothing else takes what is between."""
    uses: dict[str, int] = {}
    for layer in layers:
        for name in layer.inputs:
            uses[name] = uses.get(name, 0) + 1
    inner: dict[str, Layer] = {}
    result = []
    for layer in layers:
        if layer.kind == "add":
            terms = [inner.pop(name).inputs if name in inner else (name,) for name in layer.inputs]
            layer = replace(layer, inputs=tuple(name for term in terms for name in term))
            if uses.get(layer.name) == 1 and _goes_into_sum(layer, layers):
                inner[layer.name] = layer
                continue
        result.append(layer)
    return result


def _goes_into_sum(layer: Layer, layers: Sequence[Layer]) -> bool:
    taker = next(other for other in layers if layer.name in other.inputs)
    return taker.kind == "add" and taker.part == layer.part


def needed(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers that the last one depends on, and itself."""
    wanted = {layers[-1].name}
    for layer in reversed(layers):
        if layer.name in wanted:
            wanted.update(layer.inputs)
    return tuple(layer for layer in layers if layer.name in wanted)
