"""Imports point down the floors of the package, and --help stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dots

ROOT = Path(dots.__file__).parent
FLOORS: tuple[tuple[str, ...], ...] = (
    ("common",), ("space",), ("zoo", "recipe"), ("data", "report"), ("networks", "training"),
    ("nas",), ("runs",), ("study", "export", "api", "testing"), ("cli",), ("__main__",),
)  # fmt: skip
"""The rooms of the package, from the ground up: each may import itself and what is below."""

HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}


def _imported(path: Path) -> Iterator[str]:
    """The rooms that a file imports, when it is loaded or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module == "dots":
            modules = [f"dots.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in modules if name.startswith("dots."))


def upward_imports(root: Path) -> list[str]:
    """'FILE imports ROOM' for each import of a room that is not below the file's own."""
    wrong = []
    for path in sorted(root.glob("*/**/*.py")) + sorted(root.glob("[!_]*.py")):
        room = path.relative_to(root).parts[0].removesuffix(".py")
        for other in sorted(set(_imported(path)) - {room}):
            if HEIGHT[other] >= HEIGHT[room]:
                wrong.append(f"{path.relative_to(root)} imports {other}")
    return wrong


def test_imports_point_down() -> None:
    assert upward_imports(ROOT) == []


def test_every_room_has_a_floor() -> None:
    rooms = {p.name.removesuffix(".py") for p in ROOT.iterdir() if p.suffix in ("", ".py")}
    rooms -= {"__init__", "__pycache__"}  # an installed package has a cache
    assert rooms == set(HEIGHT)
    assert len(rooms) <= 16


@pytest.mark.parametrize(
    ("line", "room"),
    [
        ("from dots.nas.plan import Plan", "nas"),
        ("import dots.runs.stages", "runs"),
        ("from dots import api", "api"),
    ],
)
def test_an_import_upwards_is_found(tmp_path: Path, line: str, room: str) -> None:
    file = tmp_path / "networks" / "body.py"
    file.parent.mkdir()
    file.write_text("from dots.space.cell import Cell\n")
    assert upward_imports(tmp_path) == []
    file.write_text(f"def late() -> None:\n    {line}\n")
    assert upward_imports(tmp_path) == [f"networks/body.py imports {room}"]


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["recipe", "tiny"]])
def test_help_and_recipes_load_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom dots.cli.app import run\n"
        f"run({words!r})\nsys.exit(any(m in sys.modules for m in ('torch', 'sklearn')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-500:]
