"""Facts about image files: format, size, brightness and fingerprint."""
