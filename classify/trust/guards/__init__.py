"""Guards: reasons not to believe an answer about an image."""
