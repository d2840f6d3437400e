"""Ensembles: trainings of members, weights of blends, and blended answers."""
