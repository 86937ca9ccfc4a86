"""Time and memory of a run, measured ahead."""
