"""Heads: classifiers that are fitted on features, a file for each family, listed in `table`."""
