"""What each image file is like: format, size, brightness, fingerprint."""
