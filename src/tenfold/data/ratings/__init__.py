"""Tables of ratings: their columns' roles, their side tables, and sorted arrays."""
