"""Processes that decode images for the server, with limits of memory and time."""
