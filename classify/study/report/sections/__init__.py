"""Sections of a report: each returns its parts of the page."""
