"""Whole jobs, from a table to a run and back."""
