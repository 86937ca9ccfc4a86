"""A package from outside, as pip would install it: files, and metadata with entry points."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def install(site: Path, files: Mapping[str, str], project: Mapping[str, Any]) -> None:
    """Put the files into `site`, and beside them what pip makes of [project]."""
    for name, text in files.items():
        file = site / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if "/" in name:
            (file.parent / "__init__.py").touch()
    name, version = project["name"], project["version"]
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def project_in(text: str) -> Mapping[str, Any]:
    """The [project] of a pyproject.toml."""
    project: Mapping[str, Any] = tomllib.loads(text)["project"]
    return project
