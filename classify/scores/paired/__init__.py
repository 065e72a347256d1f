"""Paired comparisons of two heads on the same rows: is one better, or are they equivalent?"""
