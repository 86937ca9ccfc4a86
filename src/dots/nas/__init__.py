"""Sec. 4: operation search and topology search."""
