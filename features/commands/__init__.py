"""The command of the features room."""
