"""Training loops, optimisers, schedules."""
