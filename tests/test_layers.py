"""Imports point one way (cli → jobs → stages → ... → ops → space), and --help stays light."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import dots

ROOT = Path(dots.__file__).parent

BELOW: dict[str, set[str]] = {
    "errors": set(),
    "space": {"errors", "lazy"},
    "genotype": {"errors", "files", "space", "cell"},
    "recipe": {"errors", "files", "space", "cell", "genotype"},
    "supernet": {"errors", "space", "ops", "operations", "network", "folding", "depthwise"},
    "topology": {"errors", "space", "relax"},
}
"""Parts that may import these others alone, whatever comes."""

ABOVE = {"cli", "api", "jobs", "stages", "session", "study", "export"}
"""What nothing else may import."""


def _part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    """The parts of the package that a file imports when it is loaded or used."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dots."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "dots":
            found |= {alias.name for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("dots.")}
    return found


def _graph() -> dict[str, set[str]]:
    """For each part of the package the other parts that it imports."""
    graph: dict[str, set[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        if path.parent != ROOT or not path.stem.startswith("_"):
            graph.setdefault(_part(path), set()).update(_imported(path))
    return {part: others - {part} for part, others in graph.items()}


def test_imports_point_one_way() -> None:
    order = list(graphlib.TopologicalSorter(_graph()).static_order())  # raises on a cycle
    assert order.index("space") < order.index("supernet") < order.index("cli")


@pytest.mark.parametrize("part", BELOW)
def test_the_foundations_stand_on_little(part: str) -> None:
    assert _graph()[part] <= BELOW[part]


def test_nothing_imports_what_lies_on_top() -> None:
    for part, others in _graph().items():
        if part not in ABOVE:
            assert not others & (ABOVE - {"session"}), part


def test_reports_never_import_a_model() -> None:
    heavy = {"supernet", "derived", "ops", "network", "strategies", "stages", "engine"}
    for path in (ROOT / "report").rglob("*.py"):
        assert not _imported(path) & heavy, path


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["recipe", "tiny"]])
def test_help_and_recipes_load_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom dots.cli.app import run\n"
        f"run({words!r})\nsys.exit(any(m in sys.modules for m in ('torch', 'sklearn')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-500:]
