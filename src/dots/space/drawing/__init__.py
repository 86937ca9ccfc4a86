"""Drawings of cells."""
