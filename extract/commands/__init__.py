"""The command of the extract room."""
