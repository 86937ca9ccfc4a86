"""Studies: many searches and trainings, what came of each, and what may be concluded.

A study plans trials, runs them in processes or with Ray, keeps what each gave, and makes a
table, a figure and a caption of it. Everything is kept in a study directory, so that an
interrupted study goes on where it was.
"""
