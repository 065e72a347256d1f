"""Image folders, decoding, splits, copies, the demo set, and how results are shown and written."""
