"""Exact solvers for linear heads on many features."""
