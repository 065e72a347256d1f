"""The audit: images that show the same, in one set, across its splits, or in several sets."""
