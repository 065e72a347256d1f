"""The commands of the classify room, one a file."""
