"""Read the world: tables, pictures and ratings to arrays."""
