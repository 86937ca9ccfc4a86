"""A layer as Python text: a module of torch.nn, or an expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dots.export.layers import Layer

_WIDTH = 100


def numbers(layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The numbers of channels in a module's text: what may differ between alike parts."""
    before = shapes[layer.inputs[0]][0]
    match layer.kind:
        case "conv":
            return before, layer.shape[0], int(layer.number("groups"))
        case "linear":
            return before, layer.shape[0]
        case "batch_norm":
            return (before,)
    return ()


def module_text(layer: Layer, channels: Sequence[str]) -> str:
    """The constructor of a layer's module; `channels` are the texts of `numbers`."""
    match layer.kind:
        case "conv":
            return _conv(layer, channels)
        case "batch_norm":
            return _batch_norm(layer, channels)
        case "linear":
            bias = "" if "bias" in layer.weights else ", bias=False"
            return f"nn.Linear({channels[0]}, {channels[1]}{bias})"
        case "relu":
            return "nn.ReLU()"
    return _pool(layer)


def _conv(layer: Layer, channels: Sequence[str]) -> str:
    words = [channels[0], channels[1], str(_short(layer.settings["kernel"]))]
    for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
        value = _short(layer.settings[name])
        if value != default:
            words.append(f"{name}={value}")
    if channels[2] != "1":
        words.append(f"groups={channels[2]}")
    if "bias" not in layer.weights:
        words.append("bias=False")
    return f"nn.Conv2d({', '.join(words)})"


def _batch_norm(layer: Layer, channels: Sequence[str]) -> str:
    words = [channels[0]]
    for name, default in (("eps", 1e-5), ("momentum", 0.1)):
        if layer.settings[name] != default:
            words.append(f"{name}={layer.settings[name]}")
    if "weight" not in layer.weights:
        words.append("affine=False")
    return f"nn.BatchNorm2d({', '.join(words)})"


def _pool(layer: Layer) -> str:
    name = "MaxPool2d" if layer.kind == "max_pool" else "AvgPool2d"
    words = _pool_words(layer)
    if layer.kind == "avg_pool":
        words.append("count_include_pad=False")
    pool = f"nn.{name}({', '.join(words)})"
    if layer.kind == "avg_pool" or not _uneven(layer):
        return pool
    return f'nn.Sequential(nn.ConstantPad2d({_border(layer)}, float("-inf")), {pool})'


def _pool_words(layer: Layer) -> list[str]:
    top, left = layer.sides()[:2]
    words = [str(_short(layer.settings["kernel"])), f"stride={_short(layer.settings['stride'])}"]
    if not _uneven(layer):
        return [*words, f"padding={_short((top, left))}"] if top or left else words
    if layer.kind == "avg_pool":
        words += ["ceil_mode=True", f"padding={_short((top, left))}"]
    return words


def call(layer: Layer, inputs: Sequence[str]) -> str:
    """The expression of a layer without tensors."""
    x = inputs[0]
    match layer.kind:
        case "relu":
            return f"F.relu({x})"
        case "mean":
            return f"{x}.mean(dim=(2, 3))"
        case "pad":
            return f"F.pad({x}, {_border(layer)})"
        case "slice":
            (top, left), (down, across) = layer.pair("start"), layer.pair("step")
            return f"{x}[:, :, {top or ''}::{down}, {left or ''}::{across}]"
        case "add":
            return " + ".join(inputs)
        case "concat":
            return f"torch.cat([{', '.join(inputs)}], dim=1)"
    return _pool_call(layer, x)


def _pool_call(layer: Layer, x: str) -> str:
    name = "max_pool2d" if layer.kind == "max_pool" else "avg_pool2d"
    words = _pool_words(layer)
    if layer.kind == "avg_pool":
        words.append("count_include_pad=False")
    elif _uneven(layer):
        x = f'F.pad({x}, {_border(layer)}, value=float("-inf"))'
    return f"F.{name}({x}, {', '.join(words)})"


def _uneven(layer: Layer) -> bool:
    top, left, bottom, right = layer.sides()
    return (top, left) != (bottom, right)


def _border(layer: Layer) -> str:
    top, left, bottom, right = layer.sides()
    return f"({left}, {right}, {top}, {bottom})"


def join(kind: str, inputs: Sequence[str]) -> list[str]:
    """A sum or a concatenation over several lines, for a statement indented by eight."""
    if kind == "add":
        rows = [f"            {'+ ' if number else ''}{x}" for number, x in enumerate(inputs)]
        return ["(", *rows, "        )"]
    row = f"            [{', '.join(inputs)}], dim=1"
    if len(row) <= _WIDTH:
        return ["torch.cat(", row, "        )"]
    rows = [f"                {x}," for x in inputs]
    return [
        "torch.cat(",
        "            [",
        *rows,
        "            ],",
        "            dim=1,",
        "        )",
    ]


def _short(value: object) -> object:
    """A pair of equal numbers as one."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        return value[0]
    return value
