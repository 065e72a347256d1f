"""Volumes: files with the slices of one body part, and which slice a path names."""
