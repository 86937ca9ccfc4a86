"""Reading a page in tests: is it well formed, self-contained and accessible, what does it say?"""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

VOID = {"meta", "link", "img", "input", "br", "hr"}
REFERENCES = ("src", "href", "srcset", "action", "data", "poster", "xlink:href")


class Page(HTMLParser):
    """Everything that the tests ask of a page. Fails on tags that do not match."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        assert len(values) == len(attrs), f"<{tag}> has an attribute twice: {attrs}"
        self.tags[tag] += 1
        self.attributes.append((tag, values))
        if "id" in values:
            self.ids[values["id"]] += 1
        self.references += [values[key] for key in REFERENCES if key in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> where another tag is open"

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "style":
            self.styles.append(data)
        elif inside == "script":
            self.scripts.append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, with single spaces."""
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of this name."""
        return [values for name, values in self.attributes if name == tag]

    @property
    def replay(self) -> dict[str, Any]:
        """The data of the replay."""
        value: dict[str, Any] = json.loads(self.scripts[0])
        return value


def check(source: str) -> Page:
    """A page, after checking what holds for every page that we write."""
    page = Page(source)
    assert source.startswith("<!doctype html>")
    assert page.all("html")[0]["lang"] == "en"
    assert page.tags["h1"] == 1
    assert page.tags["main"] == 1
    assert all(count == 1 for count in page.ids.values()), page.ids.most_common(3)
    for reference in page.references:
        assert reference.startswith(("#", "data:")), reference
        if reference.startswith("#"):
            assert reference[1:] in page.ids
    assert not re.search(r"url\(|@import|https?:", " ".join(page.styles))
    assert not re.search(r"fetch\(|XMLHttpRequest|import\s*\(", " ".join(page.scripts))
    assert all(image.get("alt") for image in page.all("img"))
    assert all(header.get("scope") in ("row", "rowgroup", "col") for header in page.all("th"))
    assert all(picture.get("aria-label") for picture in page.all("svg"))
    headings = [int(name[1]) for name, _ in page.attributes if re.fullmatch("h[1-6]", name)]
    assert all(b - a <= 1 for a, b in pairwise(headings)), headings
    return page
