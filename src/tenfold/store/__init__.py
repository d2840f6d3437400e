"""Keep runs: folders that are written atomically and read with suspicion."""
