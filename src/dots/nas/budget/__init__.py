"""Cells within a budget."""
