"""Kinds of targets: labels, scores and decisions, in NumPy only."""
