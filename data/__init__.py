"""Image folders, decoding, splits and the built-in demo set. Stands on the ground: imports no other room."""
