"""Solvers: exact fits of linear classifiers to many features."""
