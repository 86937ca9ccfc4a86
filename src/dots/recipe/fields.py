"""What settings there are, read off the models; a recipe as TOML, each with its meaning."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from dots.recipe.settings import Recipe

SECTIONS = ("data", "operations", "topology", "halving", "train", "budget")
FREE_SECTION = "method"
"""The section whose names the strategy knows, not the recipe."""


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted name, the values it may have, in words, and what it means.

    `optional`: it may be none. `listed`: its value is a list.
    """

    name: str
    allowed: str
    description: str
    optional: bool
    listed: bool


@cache
def describe() -> tuple[Setting, ...]:
    """Every setting of a recipe, in the order in which a recipe file holds them."""
    schema = Recipe.model_json_schema()
    sections = {
        name: schema["$defs"][entry["$ref"].rsplit("/", 1)[1]]
        for name, entry in schema["properties"].items()
        if name in SECTIONS
    }
    plain = {n: p for n, p in schema["properties"].items() if n not in SECTIONS}
    return (
        *_settings(plain, ""),
        *chain.from_iterable(
            _settings(section["properties"], f"{name}.") for name, section in sections.items()
        ),
    )


@cache
def settings_by_name() -> Mapping[str, Setting]:
    """The same by dotted name."""
    return {setting.name: setting for setting in describe()}


def _settings(properties: Mapping[str, Any], prefix: str) -> Iterator[Setting]:
    for name, schema in properties.items():
        options = schema.get("anyOf", [schema])
        yield Setting(
            name=prefix + name,
            allowed=alternatives([_in_words(option) for option in options]),
            description=schema["description"],
            optional=any(option.get("type") == "null" for option in options),
            listed=any(option.get("type") == "array" for option in options),
        )


def _in_words(schema: Mapping[str, Any]) -> str:
    """The values that a JSON schema allows, as a phrase that follows 'must be'."""
    if "enum" in schema:
        return alternatives([repr(value) for value in schema["enum"]])
    match schema.get("type"):
        case "null":
            return "none"
        case "boolean":
            return "true or false"
        case "string":
            return "a name"
        case "object":
            return "a group of settings"
        case "array" if "prefixItems" in schema:
            items = schema["prefixItems"]
            return f"a list of {len(items)}, each {_in_words(items[0])}"
        case "array":
            return f"a list, each {_in_words(schema['items'])}"
        case "integer":
            return "a whole number" + _bounds(schema)
        case "number":
            return "a number" + _bounds(schema)
        case other:
            raise AssertionError(f"a setting of type {other!r} has no words")


def _bounds(schema: Mapping[str, Any]) -> str:
    bounds = {key: f"{limit:.15g}" for key, limit in schema.items() if "imum" in key.lower()}
    match bounds:
        case {"minimum": low, "maximum": high}:
            return f" from {low} to {high}"
        case {"minimum": low, "exclusiveMaximum": high}:
            return f" of at least {low} and below {high}"
        case {"exclusiveMinimum": low, "maximum": high}:
            return f" above {low}, at most {high}"
        case {"exclusiveMinimum": low, "exclusiveMaximum": high}:
            return f" above {low} and below {high}"
        case {"minimum": low}:
            return f" of at least {low}"
        case {"exclusiveMinimum": low}:
            return f" above {low}"
    return ""


def suggestion(name: str) -> str:
    """', did you mean …?' for an unknown setting, or where to look when nothing is near."""
    known = tuple(settings_by_name())
    leaf = name.rsplit(".", 1)[-1]
    same_leaf = [path for path in known if path.rsplit(".", 1)[-1] == leaf]
    near = same_leaf or difflib.get_close_matches(name, known, n=3, cutoff=0.75)
    if not near:
        leaves = {path.rsplit(".", 1)[-1] for path in known}
        close = difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)
        near = [path for path in known if path.rsplit(".", 1)[-1] in close]
    if not near:
        return "'dots recipe' prints all settings"
    return f"did you mean {alternatives(near)}?"


def alternatives(names: Sequence[str]) -> str:
    """'a', 'a or b', 'a, b or c'."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} or {names[-1]}"


def to_toml(recipe: Recipe) -> str:
    """The recipe as commented TOML that build_recipe(file=...) reads back unchanged.

    TOML has no null: a setting that is none is written as the text "none".
    """
    values = recipe.to_json()
    lines: list[str] = []
    for name, value in values.items():
        if name not in (*SECTIONS, FREE_SECTION):
            lines += _commented(name, name, value)
    method = values[FREE_SECTION]
    if method:
        lines += ["", f"# {settings_by_name()[FREE_SECTION].description}", f"[{FREE_SECTION}]"]
        lines += [f"{_key(leaf)} = {_value(entry)}" for leaf, entry in method.items()]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for leaf, entry in values[section].items():
            lines += _commented(f"{section}.{leaf}", leaf, entry)
    return "\n".join(lines) + "\n"


def _commented(name: str, key: str, value: Any) -> list[str]:
    setting = settings_by_name()[name]
    return [f"# {setting.description} ({setting.allowed})", f"{key} = {_value(value)}"]


def _value(value: Any) -> str:
    match value:
        case None:
            return '"none"'
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case list():
            return f"[{', '.join(_value(entry) for entry in value)}]"
        case dict():
            inner = ", ".join(f"{_key(name)} = {_value(entry)}" for name, entry in value.items())
            return f"{{{inner}}}"
        case _:
            return repr(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves bare and TOML forbids.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
