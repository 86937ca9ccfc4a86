"""Supernets and derived networks."""
