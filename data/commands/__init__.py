"""The commands of the data room, one a file."""
