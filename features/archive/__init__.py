"""Compressed archives of feature stores."""
