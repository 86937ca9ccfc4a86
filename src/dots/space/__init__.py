"""Sec. 3.1: search spaces, cells, genotypes. No torch."""
