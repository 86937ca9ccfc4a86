"""The table of docs/peers.md is complete, and its links lead to the sections that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.doc_pages import DOCS

COLUMNS = ("this", "NNI", "NASLib", "confopt", "AutoGluon", "Ultralytics", "timm")
LINK = r"\]\((?!https://)([^)\s]+)\)"


def table() -> list[list[str]]:
    """The cells of each row, the header first; rows that only name a group are left out."""
    lines = (DOCS / "peers.md").read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|") and not line.startswith("|---")
    ]
    return [row for row in rows if any(row[1:])]


def anchors(page: Path) -> set[str]:
    """The names that the site gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}


def leads_somewhere(target: str) -> bool:
    """Whether there is a page, and in it the heading."""
    name, _, anchor = target.partition("#")
    page = DOCS / name
    return page.is_file() and (not anchor or anchor in anchors(page))


def test_every_feature_is_judged_for_everyone() -> None:
    header, *rows = table()
    assert len(header) == len(COLUMNS) + 1
    for name, cell in zip(COLUMNS, header[1:], strict=True):
        assert name in cell
    assert len(rows) > 25
    for feature, *cells in rows:
        assert len(cells) == len(COLUMNS), feature
        for cell in cells:
            assert re.match(r"(yes|partly|no)(:|$)", cell), f"{feature}: {cell}"


def test_what_is_here_is_linked() -> None:
    for feature, ours, *_ in table()[1:]:
        assert ours == "no" or re.search(LINK, ours), feature


def test_links_lead_to_their_sections() -> None:
    text = (DOCS / "peers.md").read_text(encoding="utf-8")
    lost = [target for target in re.findall(LINK, text) if not leads_somewhere(target)]
    assert not lost


@pytest.mark.parametrize("target", ["no-such-page.md", "runs.md#no-such-section"])
def test_a_link_to_nothing_is_found(target: str) -> None:
    assert not leads_somewhere(target)
