"""Checksums of the facts of a row, and the verification of a store."""
