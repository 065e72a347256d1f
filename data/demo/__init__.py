"""The built-in demo set of synthetic head slices."""
