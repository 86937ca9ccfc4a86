"""docs/extending.md: each change is made in a copy of the package, and what follows runs there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dots
from helpers.doc_pages import ROOT, Block, blocks, commands

pytestmark = pytest.mark.slow
PAGE = "docs/extending.md"


def apply(block: Block, copy: Path) -> None:
    """Make the change that a block shows in the copy of the package."""
    file = copy / block.title.removeprefix("src/")
    if block.language == "python":
        assert not file.exists(), f"{block.title} is there already"
        file.write_text(block.text)
        return
    old = "".join(line[1:] for line in block.text.splitlines(True) if line[0] in " -")
    new = "".join(line[1:] for line in block.text.splitlines(True) if line[0] in " +")
    text = file.read_text()
    assert text.count(old) == 1, f"{block.title} has not once:\n{old}"
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the changed package, to be put before the installed one."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(Path(dots.__file__).parent, folder / "dots")
    for block in blocks(PAGE):
        if block.title:
            apply(block, folder)
    return folder


def in_copy(copy: Path, words: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_what_the_page_shows_runs(copy: Path, tmp_path: Path) -> None:
    shown = [words for block in blocks(PAGE) for words in commands(block)]
    assert len(shown) == 4
    for words in shown:
        done = in_copy(copy, ["-m", "dots", *words], tmp_path)
        assert done.returncode == 0, (words, done.stderr[-2000:])
    candidates = (tmp_path / "runs/digits-1/candidates.json").read_text()
    assert '"stripes"' in candidates
    assert '"sharp"' in (tmp_path / "runs/digits-2/recipe.json").read_text()


def test_the_method_passes_the_contract_suite(copy: Path) -> None:
    words = [
        "-m",
        "pytest",
        "tests/nas/strategies/test_contracts.py",
        "-k",
        "sharp",
        "-p",
        "no:cacheprovider",
    ]
    assert f"python {' '.join(words[:5])}" in (ROOT / PAGE).read_text()
    done = in_copy(copy, words, ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout or "100%" in done.stdout


def test_the_changed_package_is_the_copy(copy: Path) -> None:
    done = in_copy(copy, ["-c", "import dots; print(dots.__file__)"], ROOT / "docs")
    assert done.stdout.startswith(str(copy))
