"""Live spreadsheets whose formulas recompute."""
