"""Small operation searches for tests."""

from __future__ import annotations

from dots.testing.searching import search, settings

__all__ = ["EDGES", "search", "settings"]

EDGES = 5  # of a cell with two inputs and two nodes
