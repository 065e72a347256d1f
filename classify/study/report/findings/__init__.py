"""Findings: reasons to doubt a score, each with a stable code, its evidence and its remedy."""
