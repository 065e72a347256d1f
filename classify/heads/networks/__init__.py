"""Heads that are networks, trained by Keras."""
