"""Files that are written whole; predictions and submissions."""
