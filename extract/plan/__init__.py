"""The plan of an extraction: its steps, the checks before it, and the store that it writes."""
