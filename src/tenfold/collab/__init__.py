"""The ratings wing: compiled kernels and factor models. Never torch."""
