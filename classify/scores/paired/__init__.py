"""Paired comparisons of two heads on the same rows: differences and equivalence."""
