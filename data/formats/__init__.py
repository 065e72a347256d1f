"""Image file formats: from bytes to RGB arrays."""
