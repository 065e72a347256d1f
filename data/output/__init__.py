"""Output: the terminal, HTML pages, CSV lines, files, and options that commands share."""
