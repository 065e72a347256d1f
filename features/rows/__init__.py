"""Rows of a store: what they hold beside features, and their features as a matrix."""
