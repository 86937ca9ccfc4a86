"""docs/extending.md: its package is installed in a folder, and what follows runs there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dots
from helpers.doc_pages import ROOT, blocks, commands
from helpers.outside import install, project_in

pytestmark = pytest.mark.slow
PAGE = "docs/extending.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of the page, installed in it."""
    folder = tmp_path_factory.mktemp("outside")
    files = {block.title: block.text for block in blocks(PAGE) if block.title}
    install(folder, files, project_in(files["pyproject.toml"]))
    return folder


def outside(place: Path, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Python with these words, where the package is importable; none of its output is lost."""
    path = os.pathsep.join((str(Path(dots.__file__).parents[1]), str(place)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_what_the_page_shows_runs(place: Path) -> None:
    shown = [words for block in blocks(PAGE) for words in commands(block)]
    assert len(shown) == 7
    for words in shown:
        done = outside(place, ["-m", "dots", *words], place)
        assert done.returncode == 0, (words, done.stderr[-2000:])
    run = place / "runs/digits-1"
    assert '"stripes"' in (run / "candidates.json").read_text()
    assert json.loads((run / "recipe.json").read_text())["strategy"] == "sharp"
    origins = json.loads((run / "environment.json").read_text())["plugins"]
    assert origins["strategy sharp"]["version"] == "dots-stripes 1.0"
    assert origins["space striped"]["module"] == "dots_stripes.spaces"
    assert (run / "export/network.npz").is_file()
    recipe = json.loads((place / "runs/digits-2/recipe.json").read_text())
    assert recipe["strategy"] == "strategies.py:Sharp"


def test_what_the_page_does_from_python_runs(place: Path) -> None:
    code = [b.text for b in blocks(PAGE) if b.language == "python" and not b.title]
    done = outside(place, ["-c", "\n".join(code)], place)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr[-2000:]


def test_the_contract_suites_run_outside(place: Path) -> None:
    words = ["-m", "pytest", "test_stripes.py"]
    assert f"python {' '.join(words)}" in (ROOT / PAGE).read_text()
    done = outside(place, [*words, "-q", "-p", "no:cacheprovider"], place)
    assert done.returncode == 0, done.stdout[-3000:]


def test_help_and_mistakes_know_what_is_installed(place: Path) -> None:
    told = outside(place, ["-m", "dots", "run", "--help"], place).stdout
    assert "Installed: sharp" in told
    assert "Installed: striped" in told
    assert "Installed: npz" in outside(place, ["-m", "dots", "export", "--help"], place).stdout
    done = outside(place, ["-m", "dots", "run", "digits", "--space", "stripped"], place)
    assert (done.returncode, done.stderr) == (
        2,
        "dots: unknown search space 'stripped': did you mean 'striped'?\n",
    )


def test_without_the_package_its_runs_say_so(place: Path, tmp_path: Path) -> None:
    run = place / "runs/digits-1"
    if not run.exists():
        pytest.skip("the page's commands made no run")
    asked = (
        ["run", "--resume", str(run)],
        ["export", str(run), "--to", "safetensors"],
        ["predict", str(run), str(run / "recipe.json")],
        ["count", str(run)],
    )
    for words in asked:
        done = outside(tmp_path, ["-m", "dots", *words], tmp_path)
        assert done.returncode == 2, words
        assert done.stderr.count("\n") == 1, done.stderr
        assert "is not installed: it came from dots-stripes 1.0" in done.stderr, words
