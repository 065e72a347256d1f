"""The commands of the extract room."""
