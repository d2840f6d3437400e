"""Run folders, and what is known of a finished run."""
