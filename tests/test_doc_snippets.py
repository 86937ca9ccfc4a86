"""The Python snippets of the pages on the zoo and on budgets run, one page at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["zoo.md", "budget.md"])
def test_snippets_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert snippets
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), names)
    printed = capsys.readouterr().out
    for promised in re.findall(r"print\(.*# ([\d ]+)\n", text):
        assert promised in printed
