"""The built wheel, in an environment of its own; and what the repository says about itself."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from helpers.doc_pages import ROOT


@pytest.mark.slow
def test_the_wheel_works_outside_of_the_checkout() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts/test_wheel.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-1000:]
    assert done.stdout.endswith("the wheel works\n")


def test_every_file_names_the_same_version_and_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {project['version']}\n" in citation
    assert f"license: {project['license']}\n" in citation
    assert re.search(
        rf"^## {re.escape(project['version'])}\b", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
