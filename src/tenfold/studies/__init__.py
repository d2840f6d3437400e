"""Whole jobs over trainings: tune, compare, demo, competitions."""
