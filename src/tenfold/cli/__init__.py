"""The command line: options, screen, and one file per group of commands."""
