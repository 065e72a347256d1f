"""Fitting heads: search, calibration, scoring."""
