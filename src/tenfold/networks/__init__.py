"""Networks from a table: prepare, fit, ask, explain."""
