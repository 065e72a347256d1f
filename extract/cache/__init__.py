"""Feature stores as a cache of features by image content."""
