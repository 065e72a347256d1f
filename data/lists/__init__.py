"""The images of a folder tree or of a CSV file, as they are listed there."""
