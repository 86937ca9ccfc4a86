"""What is handed over, named in files, or installed: found, and mistakes in a line."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.common.plugins import (
    Plugin,
    find_installed,
    find_outside,
    handed_over,
    installed,
    is_reference,
    load_reference,
)
from helpers.outside import install

CODE = """
from dataclasses import dataclass

@dataclass
class Made:
    size: 'int' = 3

VALUE = Made()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_a_file_is_loaded_once_and_remembered_by_name_and_hash(file: Path) -> None:
    before = list(sys.path)
    found = load_reference(f"{file}:Made")
    assert (found.name, found.module, found.version) == ("mine.py:Made", "mine", None)
    assert found.sha256 == hashlib.sha256(CODE.encode()).hexdigest()
    assert isinstance(load_reference(f"{file}:VALUE").value, found.value)
    assert handed_over(found.value).name == found.name
    assert found.text is not None
    assert load_reference(found.text).value is found.value
    assert sys.path == before
    assert "mine" not in sys.modules


def test_a_changed_file_is_another(file: Path) -> None:
    first = load_reference(f"{file}:Made")
    file.write_text(CODE + "# more\n")
    second = load_reference(f"{file}:Made")
    assert first.value is not second.value
    assert first.sha256 != second.sha256


def test_a_module_tells_its_version() -> None:
    found = load_reference("pytest:Item")
    assert found.value is pytest.Item
    assert found.name == "pytest:Item"
    assert found.version == f"pytest {pytest.__version__}"
    assert handed_over(pytest.Item).version == found.version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}/none.py:Made", "cannot read '{}/none.py': No such file"),
        ("{}/mine.py:Mad", "{}/mine.py has no 'Mad': did you mean 'Made'?"),
        ("{}/mine.py:Made.of", "{}/mine.py has no 'of'"),
        ("{}/mine.py:", "write FILE.py:NAME"),
        ("{}/torn.py:Made", "'{}/torn.py' cannot be loaded: SyntaxError"),
        ("{}/wrong.py:Made", "'{}/wrong.py' cannot be loaded: KeyError: 'no'"),
        ("no_such_module.at_all:Made", "the module 'no_such_module.at_all' cannot be loaded"),
    ],
)
def test_a_mistake_is_one_line(file: Path, text: str, message: str) -> None:
    (file.parent / "torn.py").write_text("def (\n")
    (file.parent / "wrong.py").write_text("{}['no']\n")
    before = set(sys.modules)
    with pytest.raises(UserError) as caught:
        load_reference(text.format(file.parent))
    assert message.format(file.parent) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any("torn" in name or "wrong" in name for name in set(sys.modules) - before)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, one of them broken."""
    entries = {"dots.strategies": {"made": "outside_made.code:Made", "bad": "outside_made.bad:X"}}
    project = {"name": "outside-made", "version": "2.1", "entry-points": entries}
    files = {"outside_made/code.py": CODE, "outside_made/bad.py": "raise OSError('no\\nluck')\n"}
    install(tmp_path / "site", files, project)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def test_an_installed_one_is_found_while_it_is_there(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed("strategy") == ("bad", "made")
    assert "outside_made.code" not in sys.modules, "a list loads nothing"
    found = find_installed("strategy", "made")
    assert found is not None
    assert found.origin() == {
        "module": "outside_made.code",
        "version": "outside-made 2.1",
        "sha256": hashlib.sha256(CODE.encode()).hexdigest(),
    }
    assert find_installed("space", "made") is None
    with pytest.raises(UserError, match=r"unknown strategy 'mode': did you mean 'made'?"):
        find_outside("strategy", "mode", ("darts",))
    with pytest.raises(UserError, match="'bad' cannot be loaded: OSError: no luck"):
        find_installed("strategy", "bad")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(site)])
    assert installed("strategy") == ()


def test_what_is_not_given_is_asked_for_by_name() -> None:
    assert is_reference("a.py:B")
    other = Plugin(None, "b.py:B", "b", None, None)
    with pytest.raises(UserError, match=r"strategy a.py:B is not given here: .* --strategy a.py:B"):
        find_outside("strategy", "a.py:B", ())
    with pytest.raises(UserError, match=r"the space a.py:B is not b.py:B: .* --space a.py:B"):
        find_outside("space", "a.py:B", (), other)
    assert find_outside("space", "b.py:B", (), other) is other
