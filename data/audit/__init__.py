"""Leaks: images of one set or several that show the same on two sides of a split."""
