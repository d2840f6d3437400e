"""HTML pages of runs, and what a notebook shows."""
