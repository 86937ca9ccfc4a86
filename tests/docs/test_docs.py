"""The documentation is current: generated pages, names in the code, pictures, the site itself."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from dots.nas.strategies import STRATEGIES
from helpers.doc_pages import DOCS, PAGES, ROOT


def script(name: str) -> ModuleType:
    """A file of scripts/ as a module."""
    spec = util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "reference.md", "notebook.md"])
def test_generated_pages_are_current(name: str) -> None:
    expected = script("make_docs").PAGES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == expected, "python scripts/make_docs.py"


def test_every_name_of_paper_to_code_exists() -> None:
    text = (DOCS / "paper.md").read_text(encoding="utf-8")
    names = re.findall(r"`(dots(?:\.\w+)+)`", text)
    assert len(names) > 30
    for name in names:
        resolve(name)


def resolve(name: str) -> object:
    """The module, class, function or method of a dotted name. Raises where there is none."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_every_equation_has_its_row() -> None:
    text = (DOCS / "paper.md").read_text(encoding="utf-8")
    found = set(map(int, re.findall(r"\| Eq\. (\d+)", text)))
    for first, word, last in re.findall(r"Eqs\. (\d+) (to|and) (\d+)", text):
        found |= set(range(int(first), int(last) + 1)) if word == "to" else {int(first), int(last)}
    assert found == set(range(1, 17))


def test_every_method_has_its_page() -> None:
    listed = (DOCS / "methods/index.md").read_text(encoding="utf-8")
    for name in STRATEGIES:
        assert (DOCS / f"methods/{name}.md").is_file()
        assert f"[{name}]({name}.md)" in listed


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_pictures_are_well_formed_and_shown() -> None:
    everything = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for picture in (DOCS / "pictures").iterdir():
        assert f"pictures/{picture.name}" in everything, picture.name
        if picture.suffix == ".svg":
            ElementTree.parse(picture)


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("material")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr
    assert (tmp_path / "paper/index.html").is_file()
    page = (tmp_path / "index.html").read_text()
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?://(?!.*canonical)', page)
