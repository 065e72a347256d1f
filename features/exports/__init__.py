"""Exports of a store: files for other programs, and a map of its images."""
