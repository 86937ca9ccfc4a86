"""From a preset, a file and overrides to a checked recipe; what is wrong is one line."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dots.common.errors import UserError
from dots.common.files import parse_json, read_text
from dots.common.records import RECIPE
from dots.recipe.fields import FREE_SECTION, SECTIONS, alternatives, settings_by_name, suggestion
from dots.recipe.presets import DEFAULT_PRESET, PRESETS, fitted
from dots.recipe.settings import Recipe
from dots.recipe.shares import with_training_epochs

Values = dict[str, Any]

MAX_FILE_BYTES = 2**20
MAX_DEPTH = 20


def preset(name: str) -> Recipe:
    """The preset called `name`. Raises UserError for an unknown one."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"unknown preset {_shown(name)}: {meant}choose {alternatives(tuple(PRESETS))}"
        )
    return PRESETS[name]()


def build_recipe(
    preset: str | None = None,
    file: Path | str | None = None,
    overrides: Sequence[str] = (),
    *,
    yields: bool = False,
) -> Recipe:
    """The recipe that starts from a preset, takes a file's values, then the overrides.

    `file` is TOML, a run's recipe.json, or a run directory that holds one; it may name the
    preset that it starts from, and need not hold all settings; one that holds all that a recipe
    must say, as a run's does, stands alone, and what an earlier version did not know has its
    default. An override reads
    `section.name=value`, the value as in TOML; text needs no quotes, a list no brackets, and
    `none` unsets. Without `preset` and without one in the file it is "quick". A preset fits
    itself to the search space (`dots.recipe.presets`), below what file and overrides say.
    The preset that a file names gives way to `preset` where the file `yields`.

    Raises UserError, one line, for whatever does not fit.
    """
    given = _read(Path(file)) if file is not None else {}
    named = given.get("preset")
    if named is not None and not isinstance(named, str):
        raise UserError(f"preset = {_shown(named)} in {str(file)!r}: must be a name")
    if yields and preset is not None:
        named = given["preset"] = preset
    if preset is not None and named is not None and preset != named:
        raise UserError(
            f"the preset {preset!r} and the file {str(file)!r}, which starts from {named!r}, "
            "exclude each other: give one of them"
        )
    start = _preset(preset or named or DEFAULT_PRESET)
    _check_names(given, where=f" in {str(file)!r}")
    if _stands_alone(given):
        return changed(recipe_from_json(given), overrides)
    values = _with(_merged(start.to_json(), given), overrides)
    fitting = fitted(start, str(values["space"]))  # what a preset means depends on the space
    if _names("epochs", given, overrides):
        fitting = _following(fitting, values["train"])
    if _names("batch", given, overrides):
        fitting = fitting.model_copy(update={"least_steps": None})
    return recipe_from_json(_with(_merged(fitting.to_json(), given), overrides))


def _stands_alone(given: Mapping[str, Any]) -> bool:
    try:
        Recipe.model_validate(given)
    except ValidationError:
        return False
    return True


def _names(setting: str, given: Mapping[str, Any], overrides: Sequence[str]) -> bool:
    """Whether some stage's `setting` is asked for."""
    sections = [value for value in given.values() if isinstance(value, dict)]
    names = [*(override.partition("=")[0].strip() for override in overrides), *chain(*sections)]
    return any(name.rsplit(".", 1)[-1] == setting for name in names)


def _following(recipe: Recipe, train: Any) -> Recipe:
    """The preset as it goes with epochs that are asked for, for some stage.

    They are not fitted to the number of images; and on a cycle of the learning rate its
    warm-up, and the epochs of the published baseline, go with those of the training.
    """
    recipe = recipe.model_copy(update={"nominal_images": None})
    epochs = train.get("epochs") if isinstance(train, dict) else None
    if recipe.train.anneal == "step" and type(epochs) is int and epochs > 0:
        return with_training_epochs(recipe, epochs)
    return recipe


_preset = preset  # build_recipe's argument has the same name


def changed(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """`recipe` with overrides as in build_recipe. Raises UserError as there."""
    return recipe_from_json(_with(recipe.to_json(), overrides))


def recipe_from_json(value: Any, where: str = "") -> Recipe:
    """The recipe of the JSON value that Recipe.to_json gave; `where` names its file.

    Raises UserError for a value that is no complete recipe.
    """
    prefix = f"{where}: " if where else ""
    if not isinstance(value, dict):
        raise UserError(f"{prefix}a recipe must be an object with settings")
    _check_depth(value, prefix)
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise UserError(prefix + _first_error(error, value)) from None


def differences(old: Recipe, new: Recipe) -> tuple[tuple[str, Any, Any], ...]:
    """Every setting in which two recipes differ: its dotted name, old and new value."""
    before, after = dict(flattened(old)), dict(flattened(new))
    names = [*before, *(name for name in after if name not in before)]
    return tuple(
        (name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def flattened(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Every dotted name with its JSON value, the method's settings one by one."""
    for name, value in recipe.to_json().items():
        if name in (*SECTIONS, FREE_SECTION):
            yield from ((f"{name}.{leaf}", entry) for leaf, entry in value.items())
        else:
            yield name, value


def _read(path: Path) -> Values:
    path = path / RECIPE if path.is_dir() else path
    what, where = "a recipe", repr(str(path))
    text = read_text(path, what=what, limit=MAX_FILE_BYTES).removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        value = parse_json(text, what=what, where=where)
    else:
        _check_keys(text, where)
        try:
            value = tomllib.loads(text)
        except RecursionError:
            raise UserError(f"{where} is nested too deeply: expected {what}") from None
        except ValueError as error:  # TOMLDecodeError, or an integer of many thousand digits
            raise UserError(f"{where} is not TOML ({error}): expected {what}") from None
    _check_depth(value, f"{where}: ")
    return {name: _without_none(name, entry) for name, entry in value.items()}


def _check_keys(text: str, where: str) -> None:
    """Refuse endless dotted keys, on which tomllib takes time quadratic in their length."""
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    if any(piece.count(".") > 100 for line in lines for piece in re.split(r"[,=\[\]{}]", line)):
        raise UserError(f"{where} has a key that is nested too deeply for a recipe")


def _check_depth(value: Any, prefix: str) -> None:
    """Without recursion: dotted TOML keys nest as deep as they are long."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise UserError(f"{prefix}nested too deeply for a recipe")
        nested = [entry for entry in level if isinstance(entry, dict | list)]
        level = [
            child
            for entry in nested
            for child in (entry.values() if isinstance(entry, dict) else entry)
        ]
        depth += 1


def _without_none(name: str, value: Any) -> Any:
    """TOML has no null: the text 'none' stands for it where a setting may be none."""
    if name in SECTIONS and isinstance(value, dict):
        return {leaf: _without_none(f"{name}.{leaf}", entry) for leaf, entry in value.items()}
    setting = settings_by_name().get(name)
    is_none = isinstance(value, str) and value.lower() in ("none", "null")
    return None if setting is not None and setting.optional and is_none else value


def _check_names(values: Values, *, where: str) -> None:
    for name, entry in values.items():
        if name in SECTIONS and isinstance(entry, dict):
            for leaf in entry:
                _check_name(f"{name}.{leaf}", where)
        elif name not in SECTIONS:
            _check_name(name, where)


def _check_name(name: str, where: str = "") -> None:
    if name not in settings_by_name():
        raise UserError(f"unknown setting {_shown(name)}{where}: {suggestion(name)}")


def _merged(base: Values, given: Mapping[str, Any]) -> Values:
    result = dict(base)
    for name, value in given.items():
        inner = base.get(name)
        both = isinstance(inner, dict) and isinstance(value, dict)
        result[name] = {**inner, **value} if both and inner is not None else value
    return result


def _with(values: Values, overrides: Sequence[str]) -> Values:
    for override in overrides:
        name, equals, text = override.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(
                f"cannot read the setting {_shown(override)}: write it as section.name=value"
            )
        values = _merged(values, _nested(name, text.strip()))
    return values


def _nested(name: str, text: str) -> Values:
    """The values that one override stands for, in their section."""
    section, _, leaf = name.partition(".")
    if section == FREE_SECTION and leaf:
        return {section: {leaf: _parsed(text)}}
    if name in (*SECTIONS, FREE_SECTION):
        first = next((n for n in settings_by_name() if n.startswith(f"{name}.")), f"{name}.NAME")
        raise UserError(f"{name!r} is a group of settings: set one of them, such as {first}")
    _check_name(name)
    if name == "preset":
        raise UserError("the preset is no setting to override: choose it with --preset")
    setting = settings_by_name()[name]
    value = _parsed(text)
    if setting.listed and not isinstance(value, list):
        value = [_parsed(part.strip()) for part in text.split(",") if part.strip()]
    value = _without_none(name, value)
    return {section: {leaf: value}} if leaf else {name: value}


def _parsed(text: str) -> Any:
    """A TOML value, or Python's words for booleans, or bare text."""
    if text in ("True", "False"):
        return text == "True"
    if re.fullmatch(r"[+-]?\.\d+|[+-]?\d+\.", text):  # .5 and 5. are no TOML
        return float(text)
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed.get("value")
    is_json = isinstance(value, bool | int | float | str | list | dict)
    return value if len(parsed) == 1 and is_json else text


def _first_error(error: ValidationError, values: Values) -> str:
    """The first complaint of pydantic as one line: the setting, its value, what is allowed."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    message = first["msg"].removeprefix("Value error, ")
    if not location:
        return message
    name = ".".join(location[: 2 if location[0] in SECTIONS else 1])
    setting, value = settings_by_name().get(name), _value(values, name)
    if first["type"] == "extra_forbidden":
        return f"unknown setting {_shown(name)}: {suggestion(name)}"
    if value is _MISSING:
        return f"the setting {name!r} is missing"
    if setting is not None:
        return f"{name} = {_shown(value)}: must be {setting.allowed}"
    if first["type"] == "value_error":
        return f"{name}: {message}"
    return f"{name} = {_shown(value)}: must be a group of settings"


_MISSING = object()


def _value(values: Values, name: str) -> Any:
    section, _, leaf = name.partition(".")
    value = values.get(section, _MISSING)
    return value.get(leaf, _MISSING) if leaf and isinstance(value, dict) else value


def _shown(value: Any) -> str:
    """A value for a message: on one line, and not long."""
    if value is None:
        return "none"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
