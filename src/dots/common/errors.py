"""The one exception that a user's mistake raises, and how its line is worded."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one line that names the thing and the remedy. The command line prints it
    and exits with status 2; from Python it is an ordinary exception.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the known one that is close, else all of them.

    Reads as the end of an error line: "unknown operation 'x': " + did_you_mean(...).
    """
    names = sorted(known)
    by_folded = {each.casefold(): each for each in names}
    close: list[str] = []
    if isinstance(name, str) and len(name) <= 100:  # matching is slow on long strings
        close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
    if close:
        return f"did you mean {by_folded[close[0]]!r}?"
    return f"choose {', '.join(names)}"


def in_one_line(error: Exception) -> str:
    """What an error of another library says, on one line, at most 200 characters; or its type."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def shown(value: object) -> str:
    """A value as it may stand in an error line: short, printable, on one line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}..."
    if isinstance(value, int):  # Python refuses to print integers of many thousand digits
        return str(value) if abs(value) < 10**15 else "a huge number"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
