"""Worker processes of the engine mnn, one a core."""
