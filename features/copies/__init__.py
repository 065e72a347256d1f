"""Rows copied from store to store: into one store, or from several into a new one."""
