"""Heads: the classifiers that are fitted on features, one file for each family, listed in `table`."""
