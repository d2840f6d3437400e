"""Recommenders from ratings: prepare, fit, ask, explain."""
