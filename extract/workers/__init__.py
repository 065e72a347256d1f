"""Worker processes, one a core."""
