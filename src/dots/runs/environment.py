"""What a run ran on: versions, machine, command. Enough to reproduce, nothing personal."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import dots
from dots.common.files import read_json
from dots.common.plugins import Kind, find_installed, is_reference
from dots.common.records import ENVIRONMENT

PACKAGES = ("dots-nas", "torch", "torchvision", "lightning-fabric", "numpy")
COMPARED = ("python", "packages", "commit", "machine", "threads", "kernels")
"""What may change the numbers of a run that is resumed elsewhere."""


def collect(
    command: Sequence[str] | None = None, plugins: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of environment.json; `command` is the command line (default: this process's).

    {"command", "python", "packages": {name: version}, "commit": of the sources or null,
    "platform", "machine", "cpus", "threads": of PyTorch, or null where it is not loaded,
    "kernels": for which processor those in C++ are that are used, or "none"; null likewise,
    "plugins": {"KIND NAME": {"module", "version", "sha256"}}, what is from outside; see
    `dots.runs.plugins`}
    """
    words = sys.argv if command is None else command
    return {
        "command": _shown(words),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _commit(),
        "platform": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": _threads(),
        "kernels": _kernels(),
        "plugins": dict(plugins or {}),
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    """In words, each difference between two environments that may change a run's numbers.

    What one of the two does not tell is not compared.
    """
    before, after = _flat(old), _flat(new)
    return tuple(
        f"{name} was {value}, is {after[name]}"
        for name, value in before.items()
        if None not in (value, after.get(name)) and value != after[name]
    )


def recorded_plugins(run: Path) -> Iterator[tuple[Kind, str, Mapping[str, Any]]]:
    """(kind, name, where it came from) of what the run directory `run` had from outside."""
    if not (run / ENVIRONMENT).is_file():
        return
    value = read_json(run / ENVIRONMENT, what="the environment of a run")
    plugins = value.get("plugins") if isinstance(value, dict) else None
    for key, origin in plugins.items() if isinstance(plugins, dict) else ():
        kind, _, name = str(key).partition(" ")
        for known in get_args(Kind):
            if kind == known and isinstance(origin, dict):
                yield known, name, origin


def missing_plugins(run: Path) -> Iterator[str]:
    """In a line each, what was installed when the run began, and is not."""
    for kind, name, origin in recorded_plugins(run):
        if not is_reference(name) and find_installed(kind, name) is None:
            package = origin.get("version") or origin.get("module")
            yield f"the {kind} {name} of this run is not installed: it came from {package}"


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in COMPARED:
        value = values.get(name)
        result.update(value if isinstance(value, dict) else {name: value})
    return result


def _shown(words: Sequence[str]) -> str:
    """The command as typed, without the place where the program lies."""
    if not words:
        return ""
    program = Path(words[0]).name
    return shlex.join(["dots" if program == "__main__.py" else program, *words[1:]])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def _kernels() -> str | None:
    native = sys.modules.get("dots.networks.kernels.native")
    return None if native is None else str(native.kind())


def _commit() -> str | None:
    """The commit of the sources, where they are a checkout of this project."""
    root = Path(dots.__file__).resolve().parents[2]
    if not (root / ".git").exists() or not (root / "src" / "dots").is_dir():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
