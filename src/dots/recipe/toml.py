"""A recipe as TOML, every setting with its meaning: what `dots recipe PRESET` prints."""

from __future__ import annotations

import json
import re
from typing import Any

from dots.recipe.fields import FREE_SECTION, SECTIONS, settings_by_name
from dots.recipe.settings import Recipe


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
