"""Guards and explanations: whether to believe an answer about an image, and why."""
