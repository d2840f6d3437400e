"""Several runs as one: their trainings, their weights and their answers."""
