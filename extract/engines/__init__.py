"""Engines: ways to run a backbone on images."""
