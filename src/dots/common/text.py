"""Text from outside on its way to a terminal or a table: class names, file names, errors."""

from __future__ import annotations

import unicodedata

_SHAPELESS = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}
_FORMULA = tuple("=+-@\t\r")


def plain(text: object) -> str:
    """What `text` reads as, on one line and without what a terminal would obey.

    Line breaks, escape sequences and other characters that have no shape, or that turn the
    direction of writing, become their escapes, so that two different names never look the same.
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _SHAPELESS else char
        for char in str(text)
    )


def plain_lines(text: str) -> str:
    """The same of a text whose lines are our own."""
    return "\n".join(map(plain, text.split("\n")))


def csv_cell(text: str) -> str:
    """A cell of a table that spreadsheets show as it is, where they would compute it.

    What begins as a formula does is preceded by an apostrophe; numbers belong in no text.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text
