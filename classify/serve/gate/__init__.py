"""The gate of the server: limits, access, uploads, and the answers to what is refused."""
