"""A grid of runs, all but one thing being equal, and what may be concluded from it."""
