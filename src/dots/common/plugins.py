"""What comes from outside the package: found by an entry point, a reference, or handed over.

Nothing is kept here: an installed plug-in is found by asking what is installed, any other is a
value that is handed down from where the user named it.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, metadata, util
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal

from dots.common.errors import UserError, did_you_mean, shown

Kind = Literal["strategy", "operation", "space", "export"]
GROUPS: Mapping[Kind, str] = MappingProxyType(
    {
        "strategy": "dots.strategies",
        "operation": "dots.operations",
        "space": "dots.spaces",
        "export": "dots.exports",
    }
)
"""The groups of entry points."""
WORDS: Mapping[Kind, str] = MappingProxyType({"space": "search space"})
OPTIONS: Mapping[Kind, str] = MappingProxyType({"export": "--to"})
_FILE = "dots_file_"
"""What the names of modules begin with that a file was loaded as."""
PYTHON = "python:"
"""What the name of a value begins with that Python handed over and no module holds."""


@dataclass(frozen=True)
class Plugin:
    """An object from outside, and where it came from.

    `name` is what a recipe calls it: "file.py:NAME", "package.module:NAME", or the name of an
    entry point. `version` is that of the installed distribution ("package 1.0"), `sha256` that
    of the source file, each None where there is none. `text` loads it again in another process.
    """

    value: Any
    name: str
    module: str
    version: str | None
    sha256: str | None
    text: str | None = None

    def called(self, name: str) -> bool:
        """Whether a recipe that says `name` means this."""
        return name in (self.name, f"{PYTHON}{getattr(self.value, 'name', '')}")

    def origin(self) -> dict[str, str | None]:
        """Where it came from, as a run records it."""
        return {"module": self.module, "version": self.version, "sha256": self.sha256}


@dataclass(frozen=True)
class Given:
    """What the user handed over for this run beside what is installed."""

    strategy: Plugin | None = None
    space: Plugin | None = None


NOTHING = Given()


def is_reference(text: str) -> bool:
    """Whether a text names an object in a file or module, and not one that is known by name."""
    return ":" in text


def installed(kind: Kind) -> tuple[str, ...]:
    """The names of what is installed; nothing is loaded."""
    return tuple(sorted(_entry_points(GROUPS[kind], tuple(sys.path))))


def find_installed(kind: Kind, name: str) -> Plugin | None:
    """The installed plug-in of that name. Raises UserError where it cannot be loaded."""
    entry = _entry_points(GROUPS[kind], tuple(sys.path)).get(name)
    if entry is None:
        return None
    try:
        value = entry.load()
    except Exception as error:  # whatever an outside module does wrong
        raise UserError(f"the installed {kind} {name!r} cannot be loaded: {_brief(error)}") from (
            error
        )
    version = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else None
    return Plugin(value, name, entry.module, version, _sha256(sys.modules.get(entry.module)))


@lru_cache(maxsize=16)  # asking takes milliseconds; what is installed is a function of the path
def _entry_points(group: str, path: tuple[str, ...]) -> Mapping[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=group)}


def find_outside(kind: Kind, name: str, ours: Iterable[str], given: Plugin | None = None) -> Plugin:
    """What `name` means that is none of `ours`: what was given, or what is installed.

    Raises UserError where it is neither.
    """
    if given is not None and given.called(name):
        return given
    if is_reference(name):
        raise UserError(not_given(kind, name, given))
    found = find_installed(kind, name)
    if found is None:
        known = [*ours, *installed(kind)]
        raise UserError(
            f"unknown {WORDS.get(kind, kind)} {shown(name)}: {did_you_mean(name, known)}"
        )
    return found


def not_given(kind: Kind, name: str, given: Plugin | None = None) -> str:
    """In a line that a run's plug-in was not named here, or another was."""
    option = OPTIONS.get(kind, f"--{kind}")
    text = f"FILE.py:NAME (it came from Python as {name})" if name.startswith(PYTHON) else name
    other = "is not given here" if given is None else f"is not {given.name}"
    return f"the {kind} {name} {other}: name it with {option} {text}"


def load_reference(text: str) -> Plugin:
    """The object that "path/file.py:NAME" or "package.module:NAME" stands for.

    This executes the file: only what the user names on the command line may come here. Raises
    UserError where there is no such thing, or its code fails.
    """
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise UserError(f"cannot read {shown(text)}: write FILE.py:NAME or package.module:NAME")
    is_file = place.endswith(".py")
    module = _load_file(Path(place)) if is_file else _import(place)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            public = [each for each in vars(value) if not each.startswith("_")]
            raise UserError(f"{place} has no {part!r}: {did_you_mean(part, public)}")
        value = getattr(value, part)
    short = f"{Path(place).name}:{name}" if is_file else text
    where = Path(place).stem if is_file else place
    again = f"{Path(place).resolve()}:{name}" if is_file else text
    version = None if is_file else _version(place)
    return Plugin(value, short, where, version, _sha256(module), again)


def handed_over(value: Any, name: str | None = None) -> Plugin:
    """A value that Python has, as a plug-in; without `name` it is a class or function."""
    module = inspect.getmodule(value) if name is None else None
    if module is None:
        return Plugin(value, f"{PYTHON}{name or _qualified(value)}", "", None, _source(value))
    file, name = getattr(module, "__file__", None), module.__name__
    place, where, version = name, name, None
    if file is not None and (name == "__main__" or name.startswith(_FILE)):
        place, where = Path(file).name, Path(file).stem
    else:
        version = _version(name)
    sha256 = _sha256(module) or _source(value)
    return Plugin(value, f"{place}:{_qualified(value)}", where, version, sha256)


def _qualified(value: Any) -> str:
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _load_file(path: Path) -> ModuleType:
    """The module of a file. A second call gives the same, unless the file has changed.

    It is found under a name that holds its hash: classes look their module up.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from None
    key = hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:12]
    name = f"{_FILE}{path.stem}_{key}"
    if name in sys.modules:
        return sys.modules[name]
    spec = util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise UserError(f"{str(path)!r} cannot be loaded: {_brief(error)}") from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        raise UserError(f"the module {shown(name)} cannot be loaded: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _sha256(module: ModuleType | None) -> str | None:
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _source(value: Any) -> str | None:
    """The hash of the source where no file holds it, as in a notebook."""
    try:
        return hashlib.sha256(inspect.getsource(value).encode()).hexdigest()
    except (OSError, TypeError):
        return None


def _version(module: str) -> str | None:
    for name in metadata.packages_distributions().get(module.partition(".")[0], []):
        return f"{name} {metadata.version(name)}"
    return None
