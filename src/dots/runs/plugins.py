"""What a run has from outside: recorded when it begins, asked for when it is used again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.common.plugins import (
    Given,
    Kind,
    Plugin,
    find_installed,
    handed_over,
    is_reference,
    not_given,
)
from dots.runs.directory import RunDirectory
from dots.runs.environment import missing_plugins, recorded_plugins
from dots.space.search_space import OURS, SearchSpace, named_space


def record_of(plugins: Iterable[tuple[Kind, Plugin]]) -> dict[str, Any]:
    """As environment.json holds them: {"KIND NAME": where it came from}."""
    return {f"{kind} {plugin.name}": plugin.origin() for kind, plugin in plugins}


def check_plugins(run: RunDirectory, given: Given) -> None:
    """Raise UserError, in a line, where the run's plug-in is not here, or another was given."""
    for kind, name in _named(run):
        plugin = _given(kind, given)
        if is_reference(name):
            if plugin is None or not plugin.called(name):
                raise UserError(not_given(kind, name, plugin))
        elif plugin is not None:
            raise UserError(f"the run's {kind} is {name}, not {plugin.name}: leave that out")
    for line in missing_plugins(run.path):
        raise UserError(line)


def plugin_changes(run: RunDirectory, given: Given) -> Iterator[str]:
    """In words, what is from outside and not as it was when the run began."""
    now = record_of(_handed(given))
    for kind, name, before in recorded_plugins(run.path):
        found = None if is_reference(name) else find_installed(kind, name)
        after = now.get(f"{kind} {name}", {}) if found is None else found.origin()
        for what in ("version", "sha256"):
            old, new = before.get(what), after.get(what)
            if None not in (old, new) and old != new:
                yield f"the {what} of the {kind} {name} was {_short(old)}, is {_short(new)}"


def _handed(given: Given) -> Iterator[tuple[Kind, Plugin]]:
    if given.strategy is not None:
        yield "strategy", given.strategy
    if given.space is not None:
        yield "space", given.space
        own = given.space.value.own if isinstance(given.space.value, SearchSpace) else {}
        yield from (("operation", handed_over(build)) for build in own.values())


def notes(run: RunDirectory, given: Given) -> Iterator[str]:
    """For who only reads the run: what is not here of it, and what has changed."""
    for kind, name in _named(run):
        if is_reference(name) and not ((plugin := _given(kind, given)) and plugin.called(name)):
            yield not_given(kind, name, plugin)
    yield from missing_plugins(run.path)
    yield from plugin_changes(run, given)


def space_of(path: Path, given: Given) -> SearchSpace | None:
    """The space of a run, where it is none of ours. Raises UserError where it is not here."""
    run = RunDirectory.read(path)
    if run.recipe.space in OURS:
        return None
    for line in missing_plugins(run.path):
        if not line.startswith("the strategy "):  # which a network does without
            raise UserError(line)
    return named_space(run.recipe.space, run.recipe.nodes, given.space)


def _named(run: RunDirectory) -> Iterator[tuple[Kind, str]]:
    yield "strategy", run.recipe.strategy
    yield "space", run.recipe.space


def _given(kind: Kind, given: Given) -> Plugin | None:
    return {"strategy": given.strategy, "space": given.space}.get(kind)


def _short(value: object) -> str:
    return str(value)[:12]
