"""Training and prediction on a device: batches, memory, steps, checkpoints. Knows networks, not jobs."""
